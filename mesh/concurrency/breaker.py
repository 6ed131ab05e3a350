"""Sparing callers a dependency that did not answer a moment ago."""

from __future__ import annotations

import time
from collections.abc import Callable

OPEN_SECONDS = 3.0


class Breaker:
    """After a failure nobody tries for a while, then one tries for all.

    Args:
        open_seconds: how long.
        clock: seconds, never going back.
    """

    def __init__(
        self, open_seconds: float = OPEN_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._open_seconds = open_seconds
        self._clock = clock
        self._until: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether nobody should try now; looking changes nothing."""
        return self._until is not None and self._clock() < self._until

    def allows(self) -> bool:
        """Whether to try now. After the while it says so once, until that try has ended."""
        if self._until is None:
            return True
        if self.is_open:
            return False
        self.trip()
        return True

    def trip(self) -> None:
        """It did not answer."""
        self._until = self._clock() + self._open_seconds

    def mend(self) -> None:
        """It answered."""
        self._until = None
