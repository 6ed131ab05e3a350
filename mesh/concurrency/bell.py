"""Telling any number of tasks that something has changed; what, they look up themselves."""

from __future__ import annotations

import asyncio


class Bell:
    """Rung by whoever changes something. It never waits, and knows nobody who listens."""

    def __init__(self) -> None:
        self._rings = 0
        self._next: asyncio.Event | None = None

    def ring(self) -> None:
        """Wake all who wait; who is busy finds out when it waits next."""
        self._rings += 1
        rung, self._next = self._next, None
        if rung is not None:
            rung.set()

    def listen(self) -> Listener:
        """One who hears every ring from now on."""
        return Listener(self)

    async def _rung(self) -> None:
        if self._next is None:
            self._next = asyncio.Event()
        await self._next.wait()


class Listener:
    """Waits for a bell, by itself: what one has taken the others still hear.

    `take()`, look, `wait()`: a change that comes while it looks ends the wait at once.
    """

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._taken = bell._rings

    def take(self) -> bool:
        """Whether it has rung since the last `take`; these rings are done with."""
        before, self._taken = self._taken, self._bell._rings
        return before != self._taken

    async def wait(self, seconds: float | None = None, *, burst_seconds: float = 0.0) -> bool:
        """Wait for a ring that is not taken yet; whether there is one.

        Args:
            seconds: at most so long; None is for ever.
            burst_seconds: it goes on for so long after the first ring, so that a burst of
                changes is looked at once.
        """
        if self._taken == self._bell._rings:
            try:
                async with asyncio.timeout(seconds):
                    await self._bell._rung()
            except TimeoutError:
                return False
        if burst_seconds:
            await asyncio.sleep(burst_seconds)
        return True
