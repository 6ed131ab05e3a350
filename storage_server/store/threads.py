"""The store's own threads: blocking calls with a deadline, off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from mesh.concurrency.watched import seen
from mesh.errors import ArtStoreError, Unavailable
from storage_server.store.os_errors import WriteError, translated

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """A bounded pool. A call that a dead disk holds up keeps its thread, not its caller.

    Args:
        count: threads at most.
        deadline_seconds: how long a caller waits unless it says otherwise.
        on_trouble: called when a change failed, or nothing was heard within a deadline.
    """

    def __init__(
        self,
        name: str,
        *,
        count: int,
        deadline_seconds: float,
        on_trouble: Callable[[], None] = lambda: None,
    ) -> None:
        self.deadline_seconds = deadline_seconds
        # Bytes on their way to all threads.
        self.held_bytes = 0
        self._on_trouble = on_trouble
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=name)

    async def run(self, what: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`call(...)` in a thread, within the pool's deadline; `what` goes into errors.

        Raises:
            Unavailable: the deadline passed or the system failed. The thread may still be at it.
            ResourceExhausted: the disk is full.
            StoreReadOnly: the disk takes no writes.
        """
        return await self.run_within(self.deadline_seconds, what, call, *args, **kwargs)

    async def run_within(
        self,
        seconds: float,
        what: str,
        call: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """`run` with a deadline of its own."""
        return await self.outcome(self.start(call, *args, **kwargs), what, seconds)

    def start(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Begin `call(...)`; await it by `outcome`.

        Raises:
            Unavailable: the store is closed.
        """
        try:
            job = asyncio.wrap_future(self._pool.submit(call, *args, **kwargs))
        except RuntimeError as exc:
            raise Unavailable("the store is closed", reason="STORAGE_DOWN") from exc
        # A caller that is gone does not meet the error.
        job.add_done_callback(seen)
        return job

    async def outcome(self, job: asyncio.Future[T], what: str, seconds: float | None = None) -> T:
        """The result of what `start` began; errors and deadline as in `run`."""
        seconds = self.deadline_seconds if seconds is None else seconds
        try:
            async with asyncio.timeout(seconds) as deadline:
                return await job
        except OSError as exc:
            if deadline.expired():
                raise self.unheard(what, seconds) from exc
            raise self.failed(exc, what) from exc

    def failed(self, error: OSError, what: str) -> ArtStoreError:
        """The exception to raise for what a call ended with."""
        if isinstance(error, WriteError):
            self._on_trouble()
        return translated(error, what)

    def unheard(self, what: str, seconds: float) -> Unavailable:
        """The exception to raise when a call did not end in time."""
        self._on_trouble()
        return silent(what, seconds)

    def close(self) -> None:
        """Drop what has not begun; what runs ends in its own time."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def silent(what: str, seconds: float) -> Unavailable:
    """The error for a storage that did not answer within `seconds`."""
    return Unavailable(
        f"the storage did not answer within {seconds:g} s: {what}", reason="STORAGE_SILENT"
    )
