"""Ends a stream on which nothing moves; a total deadline would end large files as well."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from artstore_client.errors import DeadlineExceeded


class IdleWatchdog:
    """Calls `cancel` when nothing was noted for `idle_seconds`.

    It costs one timer, whatever the number of messages.
    """

    def __init__(self, cancel: Callable[[], object], idle_seconds: float) -> None:
        self._cancel = cancel
        self._loop = asyncio.get_running_loop()
        self._limit = idle_seconds
        self._last = self._loop.time()
        self._paused = False
        self._timer = self._loop.call_later(idle_seconds, self._look)
        self.fired = False

    def touch(self) -> None:
        """Something moved."""
        self._last = self._loop.time()
        self._paused = False

    def allow(self, idle_seconds: float) -> None:
        """From now on wait this long for the next sign."""
        self.touch()
        self._limit = idle_seconds
        self._timer.cancel()
        self._timer = self._loop.call_later(idle_seconds, self._look)

    def pause(self) -> None:
        """Stop watching until the next `touch`: it is the caller who takes time."""
        self._paused = True

    def close(self) -> None:
        """Stop watching for good."""
        self._timer.cancel()

    def raise_if_fired(self, doing: str) -> None:
        """Turn the cancellation that this watchdog caused into what it means.

        Raises:
            DeadlineExceeded: it was this watchdog.
        """
        if self.fired:
            raise DeadlineExceeded(
                f"{doing}: nothing moved for {self._limit:g} s. {DeadlineExceeded.advice}",
                reason="IDLE_TIMEOUT",
            )

    def _look(self) -> None:
        if self._paused:
            self._timer = self._loop.call_later(self._limit, self._look)
            return
        left = self._last + self._limit - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
            return
        self.fired = True
        self._cancel()
