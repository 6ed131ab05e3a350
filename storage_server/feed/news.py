"""One look a second at what other processes write, for all who wait for changes of the feed."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from mesh.concurrency.bell import Bell, Listener
from storage_server.catalog.feed import Head


class News:
    """Says when there is something to read; what, each reads for himself.

    Args:
        head: reads how far the feed is.
        bell: rung for what this process writes; it is rung here for what others have written.
    """

    def __init__(self, head: Callable[[], Awaitable[Head]], bell: Bell) -> None:
        self._head = head
        self._bell = bell
        self._found = ("", 0)
        self._looked_at = float("-inf")

    def listen(self) -> Listener:
        """One who hears of what comes from now on."""
        return self._bell.listen()

    def seen(self, epoch: str, sequence: int) -> None:
        """Somebody has read the feed just now, and it ends there."""
        self._found = (epoch, sequence)
        self._looked_at = time.monotonic()

    async def none_by(
        self, deadline: float, rings: Listener, epoch: str, sequence: int, *, every: float
    ) -> bool:
        """Wait for something behind that place, until then at most; whether there is nothing.

        Args:
            deadline: in monotonic seconds.
            every: seconds from one look to the next.

        Raises:
            Unavailable: PostgreSQL does not answer; all who wait are told to read, and see it too.
        """
        while True:
            pause = min(deadline, self._looked_at + every) - time.monotonic()
            if await rings.wait(max(0.0, pause)):
                return False
            now = time.monotonic()
            if now >= self._looked_at + every:
                await self._look(now)
            if self._found != (epoch, sequence):
                return False
            if now >= deadline:
                return True

    async def _look(self, now: float) -> None:
        # Whoever wakes up meanwhile need not look himself.
        self._looked_at = now
        try:
            head = await self._head()
        except BaseException:
            self._looked_at = float("-inf")
            self._bell.ring()
            raise
        if (head.epoch, head.sequence) != self._found:
            self._found = (head.epoch, head.sequence)
            self._bell.ring()
