"""How fast a run goes: so many files a second, and so many at a time."""

from __future__ import annotations

import asyncio


class Pace:
    """Lets `turn` through so often a second on average; those that were not taken are not saved up.

    Args:
        per_second: 0 is no limit.
    """

    def __init__(self, per_second: float) -> None:
        self._seconds = 1 / per_second if per_second > 0 else 0.0
        self._next = 0.0

    async def turn(self) -> None:
        """Wait for the next turn."""
        now = asyncio.get_running_loop().time()
        at = max(now, self._next)
        self._next = at + self._seconds
        if at > now:
            await asyncio.sleep(at - now)
