"""When a stream ends because its token does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar


class Expiry:
    """Calls `end` when `seconds` are over; while something is let finish, after that."""

    def __init__(self, seconds: float, end: Callable[[], None]) -> None:
        self._end = end
        self._held_up = 0
        self._due = False
        self._timer = asyncio.get_running_loop().call_later(max(0.0, seconds), self._over)

    def close(self) -> None:
        """The stream is over."""
        self._timer.cancel()

    def hold_up(self) -> None:
        """A transfer begins, which is not cut off half-way."""
        self._held_up += 1

    def go_on(self) -> None:
        """It has ended."""
        self._held_up -= 1
        if self._due and not self._held_up:
            self._end()

    def _over(self) -> None:
        self._due = True
        if not self._held_up:
            self._end()


current_expiry: ContextVar[Expiry | None] = ContextVar("artstore_expiry", default=None)
"""That of the stream that is being served; None where there is none."""
