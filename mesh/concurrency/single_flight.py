"""One computation at a time for each key, shared by all who ask meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from mesh.concurrency.watched import cancel_and_wait, seen

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class SingleFlight(Generic[K, T]):
    """Whoever asks first starts it. It goes on when callers leave, the first one too; nothing
    is kept of it, so an error is told to those who wait, and the next one tries anew.
    """

    def __init__(self) -> None:
        self._flights: dict[K, asyncio.Task[T]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def __contains__(self, key: K) -> bool:
        return key in self._flights

    def get(self, key: K) -> asyncio.Task[T] | None:
        """The one under way, or None. Wait for it by `asyncio.wait` or `shield`: cancelling it
        would cancel it for all.
        """
        return self._flights.get(key)

    def join(self, key: K, work: Callable[[], Awaitable[T]]) -> asyncio.Task[T]:
        """As `get`; `work()` is started when there is none."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.create_task(self._fly(key, work))
            flight.add_done_callback(seen)
            # One that is cancelled before its first step never gets to its `finally`.
            flight.add_done_callback(lambda done: self._landed(key, done))
        return flight

    async def run(self, key: K, work: Callable[[], Awaitable[T]]) -> T:
        """Its result, or its error."""
        return await asyncio.shield(self.join(key, work))

    async def stop(self) -> None:
        """Cancel all and wait for their ends."""
        await cancel_and_wait(*self._flights.values())

    async def _fly(self, key: K, work: Callable[[], Awaitable[T]]) -> T:
        try:
            return await work()
        finally:
            # Whoever is told the outcome and asks again must not be given this one again.
            self._landed(key, asyncio.current_task())

    def _landed(self, key: K, flight: object) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
