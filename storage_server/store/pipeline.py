"""Bytes on their way from the event loop to a thread, one batch behind the other.

While a thread hashes and writes one batch, the next one fills; so receiving, hashing and
writing go on side by side, and a call costs a hop between threads once per batch at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mesh.errors import Unavailable
from storage_server.store.threads import Threads

BATCH_BYTES = 1 << 20
# Beyond so much on its way to all threads, nobody is a batch ahead of its own.
HELD_BYTES = 32 << 20


class Written(NamedTuple):
    """Bytes that were written, and their crc32c if it is known."""

    data: bytes | memoryview
    crc32c: int | None


class Pipeline:
    """Feeds a sink in the order of writing. At most two batches are held.

    Args:
        sink: runs in a thread, never twice at the same time.
        what: names the stream in errors.
    """

    def __init__(
        self, threads: Threads, sink: Callable[[Sequence[Written]], None], *, what: str
    ) -> None:
        self._threads = threads
        self._sink = sink
        self._what = what
        self._filling: list[Written] = []
        self._filling_bytes = 0
        self._job: asyncio.Future[None] | None = None
        self._job_bytes = 0
        self._error: Exception | None = None

    @property
    def is_idle(self) -> bool:
        """No thread is at it, and nothing waits for one."""
        return self._job is None and not self._filling

    async def write(self, data: bytes | memoryview, crc32c: int | None = None) -> None:
        """Hand it over; waits only when the thread is a whole batch behind, or all threads
        together have much.

        Raises:
            ArtStoreError: this or an earlier batch failed; so will every later call.
        """
        self._raise_error()
        self._filling.append(Written(data, crc32c))
        self._filling_bytes += len(data)
        self._threads.held_bytes += len(data)
        if self._job is None:
            self._begin_batch()
        elif self._filling_bytes >= BATCH_BYTES:
            await self._wait(self._job)
            self._raise_error()
        if self._job is not None and self._threads.held_bytes > HELD_BYTES:
            await self._wait(self._job)
            self._raise_error()

    async def drain(self) -> None:
        """Wait until the sink has had everything.

        Raises:
            ArtStoreError: some batch failed.
        """
        while self._job is not None and self._error is None:
            await self._wait(self._job)
        self._raise_error()

    async def settle(self) -> None:
        """Wait until no thread is at it any more, whatever the outcome.

        Raises:
            Unavailable: the thread did not come back within the deadline.
        """
        self._forget_filling()
        if self._job is not None:
            await self._wait(self._job)

    def _begin_batch(self) -> None:
        batch, size = self._filling, self._filling_bytes
        self._filling, self._filling_bytes, self._job_bytes = [], 0, size
        try:
            self._job = self._threads.start(self._sink, batch)
        except Unavailable:
            self._threads.held_bytes -= size
            raise
        self._job.add_done_callback(self._batch_ended)

    def _forget_filling(self) -> None:
        self._threads.held_bytes -= self._filling_bytes
        self._filling, self._filling_bytes = [], 0

    def _batch_ended(self, job: asyncio.Future[None]) -> None:
        self._job = None
        self._threads.held_bytes -= self._job_bytes
        if job.cancelled():
            self._error = Unavailable("the store is closed", reason="STORAGE_DOWN")
        elif (error := job.exception()) is not None:
            self._error = self._error or self._as_error(error)
        elif self._filling and self._error is None:
            try:
                self._begin_batch()
            except Unavailable as exc:
                self._error = exc

    async def _wait(self, job: asyncio.Future[None]) -> None:
        seconds = self._threads.deadline_seconds
        done, _ = await asyncio.wait({job}, timeout=seconds)
        if not done:
            self._error = self._threads.unheard(self._what, seconds)
            raise self._error

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _as_error(self, error: BaseException) -> Exception:
        if isinstance(error, OSError):
            translation = self._threads.failed(error, self._what)
            translation.__cause__ = error
            return translation
        return error if isinstance(error, Exception) else RuntimeError(f"{self._what}: {error!r}")
