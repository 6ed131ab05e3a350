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

_tell = telling(structlog.stdlib.get_logger(__name__), "work in the background failed")


class Unbroken:
    """Runs such work, and waits for it when the server stops."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`; a cancelled caller leaves, `work` goes on."""
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def begin(self, work: Coroutine[Any, Any, object]) -> None:
        """Run `work` beside the caller; a failure is logged."""
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._ended_alone)

    async def wait(self, seconds: float) -> None:
        """Wait until nothing runs any more, at most `seconds`."""
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)

    # One callback each: every write of a file is run here.

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        seen(task)

    def _ended_alone(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        _tell(task)
