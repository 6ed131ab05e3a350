"""Tasks that live as long as the server: named, watched, started again when they crash."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Self

import structlog

from mesh.concurrency.backoff import Backoff
from mesh.concurrency.watched import cancel_and_wait, tell

MAX_BACKOFF_SECONDS = 10.0

_log = structlog.stdlib.get_logger(__name__)


class Background:
    """Owns background tasks; leaving the `async with` block cancels them and waits for them."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._loose: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def start(
        self, name: str, work: Callable[[], Awaitable[None]], *, backoff_seconds: float = 0.5
    ) -> asyncio.Task[None]:
        """Run `work()` until it returns; if it raises, log and run it again after a pause.

        The pause grows up to 10 s, and is short again once a run has lasted that long.
        A name is running once: a second start of it is a ValueError.
        """
        if name in self._tasks and not self._tasks[name].done():
            raise ValueError(f"background task {name!r} is running already")
        task = asyncio.create_task(self._supervise(name, work, backoff_seconds), name=name)
        self._tasks[name] = task
        return task

    def every(
        self, name: str, interval_seconds: float, work: Callable[[], Awaitable[None]]
    ) -> asyncio.Task[None]:
        """Run `work()` now and then again `interval_seconds` after each end, failed or not."""

        async def repeat() -> None:
            while True:
                try:
                    await work()
                except Exception as exc:
                    tell(_log, "background work failed", exc, task=name)
                await asyncio.sleep(interval_seconds)

        return self.start(name, repeat)

    def once(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` a single time, beside the caller; a failure is logged."""

        async def guarded() -> None:
            try:
                await work
            except Exception as exc:
                tell(_log, "background work failed", exc, task=name)

        task = asyncio.create_task(guarded(), name=name)
        self._loose.add(task)
        task.add_done_callback(self._loose.discard)
        return task

    async def stop(self) -> None:
        """Cancel everything and wait until it has ended."""
        await cancel_and_wait(*self._tasks.values(), *self._loose)
        self._tasks.clear()

    async def _supervise(
        self, name: str, work: Callable[[], Awaitable[None]], backoff_seconds: float
    ) -> None:
        loop = asyncio.get_running_loop()
        backoff = Backoff(backoff_seconds, MAX_BACKOFF_SECONDS)
        while True:
            started = loop.time()
            try:
                await work()
                return
            except Exception as exc:
                tell(_log, "background task failed", exc, task=name)
            if loop.time() - started > MAX_BACKOFF_SECONDS:
                backoff.reset()
            await backoff.pause()
