"""How long the event loop was held up: what a caller waits although nothing is being done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client import Histogram

SAMPLE_SECONDS = 0.02
# Waking up fifty times a second would be most of what an idle server does.
IDLE_SAMPLE_SECONDS = 1.0
BUSY_SHARE = 0.05
# So long a turn is no news: a busy loop has thousands each second.
SHORT_SECONDS = 0.0005

lag_seconds = Histogram(
    "artstore_event_loop_lag_seconds",
    "Longest that something held the event loop, of 20 ms each, of a second each while idle.",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
)


class Turn:
    """The longest turn of a loop since it was last asked for; 0 for short ones."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def take(self) -> float:
        """Its seconds; the next one counts from now on."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def note(self, seconds: float) -> None:
        """One more turn."""
        self._seconds = max(self._seconds, seconds)


class _Timed:
    """A loop's selector that knows how long the loop did not look for events.

    So no turn is missed, however seldom somebody asks.
    """

    def __init__(self, selector: Any) -> None:
        self.selector = selector
        self.listening: list[Turn] = []
        self._back_at = time.monotonic()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.selector, name)

    def select(self, timeout: float | None = None) -> Any:
        if (seconds := time.monotonic() - self._back_at) > SHORT_SECONDS:
            for turn in self.listening:
                turn.note(seconds)
        try:
            return self.selector.select(timeout)
        finally:
            self._back_at = time.monotonic()


@contextmanager
def timed(loop: Any) -> Iterator[Turn]:
    """Time the turns of a loop. On one that has no selector of Python's there are none."""
    turn = Turn()
    # asyncio has no public way to it but a loop of one's own.
    selector = getattr(loop, "_selector", None)
    if selector is None:
        yield turn
        return
    if not isinstance(selector, _Timed):
        selector = loop._selector = _Timed(selector)
    selector.listening.append(turn)
    try:
        yield turn
    finally:
        selector.listening.remove(turn)
        if not selector.listening and loop._selector is selector:
            loop._selector = selector.selector


async def watch_loop_lag() -> None:
    """Observe the lag until cancelled: every 20 ms while the loop computes, else once a second."""
    loop = asyncio.get_running_loop()
    pause = SAMPLE_SECONDS
    with timed(loop) as turn:
        began, computed = loop.time(), time.thread_time()
        while True:
            await asyncio.sleep(pause)
            late = max(0.0, loop.time() - began - pause)
            lag = max(late, turn.take())
            lag_seconds.observe(lag)
            busy = time.thread_time() - computed > BUSY_SHARE * (pause + late)
            pause = SAMPLE_SECONDS if busy or lag > SAMPLE_SECONDS else IDLE_SAMPLE_SECONDS
            began, computed = loop.time(), time.thread_time()
