"""Work that goes on to its end once begun, whatever becomes of the call that began it.

Between the intent and the row a write must not stop because a client went away: every step
that is left undone would have to be found and repaired later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

from mesh.concurrency.watched import seen, telling

T = TypeVar("T")

_log = structlog.stdlib.get_logger(__name__)


class Unbroken:
    """Runs such work, and waits for it when the server stops."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._tell = telling(_log, "work in the background failed")

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`; a cancelled caller leaves, `work` goes on."""
        task = self._start(work)
        task.add_done_callback(seen)
        return await asyncio.shield(task)

    def begin(self, work: Coroutine[Any, Any, object]) -> None:
        """Run `work` beside the caller; a failure is logged."""
        self._start(work).add_done_callback(self._tell)

    async def wait(self, seconds: float) -> None:
        """Wait until nothing runs any more, at most `seconds`."""
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task
