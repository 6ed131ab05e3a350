"""Work in a thread that follows a stream, instead of stopping it at each piece."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from artstore_client.local.lone_thread import LoneThread

BATCH_BYTES = 2 * 1024 * 1024


class Behind:
    """Gathers pieces, and gives each batch to `work` in a thread, one batch at a time and in order.

    At most two batches are held: one that is worked on, one that is gathered. What `work` raises
    is raised by the next call. Call `finish` at the end, or `leave` when all is lost.

    Args:
        thread: where `work` may block for ever; `leave` does not wait for it. Default: the loop's
            own threads.
    """

    def __init__(
        self, work: Callable[[list[bytes | memoryview]], None], *, thread: LoneThread | None = None
    ) -> None:
        self._work = work
        self._thread = thread
        self._gathered: list[bytes | memoryview] = []
        self._size = 0
        self._running: asyncio.Future[None] | None = None

    async def put(self, piece: bytes | memoryview) -> None:
        """Take a piece; waits while the batch before is not done and this one is full."""
        self._gathered.append(piece)
        self._size += len(piece)
        if self._size >= BATCH_BYTES:
            await self._next()

    async def finish(self) -> None:
        """Wait until everything is done."""
        if self._gathered:
            await self._next()
        if self._running is not None:
            await self._running

    async def leave(self) -> None:
        """Wait for the thread only, so that what it uses can be closed."""
        if self._running is None:
            return
        if self._thread is not None:
            self._running.cancel()
        await asyncio.wait([self._running])

    async def _next(self) -> None:
        if self._running is not None:
            await asyncio.shield(self._running)
        batch, self._gathered, self._size = self._gathered, [], 0
        if self._thread is not None:
            self._running = asyncio.ensure_future(self._thread.call(lambda: self._work(batch)))
        else:
            self._running = asyncio.get_running_loop().run_in_executor(None, self._work, batch)
