"""Rung after each change of the feed by this process: followers need not wait for a poll."""

from __future__ import annotations

import asyncio


class Ring:
    """One ring that has not happened yet."""

    def __init__(self, event: asyncio.Event) -> None:
        self._event = event

    async def wait(self, seconds: float) -> bool:
        """Wait for it, at most so long; whether it came."""
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except TimeoutError:
            return False
        return True


class Bell:
    """Any number may wait for the next ring."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake all who wait."""
        self._event.set()
        self._event = asyncio.Event()

    def next_ring(self) -> Ring:
        """The next ring from now on; take it before looking, so that none is missed."""
        return Ring(self._event)
