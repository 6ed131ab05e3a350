"""Pauses between tries of what failed: they grow, and are spread."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable


class Backoff:
    """Equal jitter: each pause is half to the whole of a limit that grows with every failure.

    Whoever failed together, because one server went, does not come back together; and nobody
    comes back at once.

    Args:
        first_seconds: the limit of the first pause.
        max_seconds: of any pause; as the first one unless given, so that they do not grow.
        factor: by which the limit grows.
        spread: gives a number from 0 to 1: no more than half the limit to the whole of it.
    """

    def __init__(
        self,
        first_seconds: float,
        max_seconds: float | None = None,
        *,
        factor: float = 2.0,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._first = first_seconds
        self._max = first_seconds if max_seconds is None else max_seconds
        self._factor = factor
        self._spread = spread
        self._limit = first_seconds

    @property
    def is_longest(self) -> bool:
        """Whether pauses have stopped growing: it has failed for a while."""
        return self._limit >= self._max

    def delay(self) -> float:
        """Seconds to pause now; the next pause may be longer."""
        limit = min(self._limit, self._max)
        self._limit = min(limit * self._factor, self._max)
        return limit * (1 + self._spread()) / 2

    def reset(self) -> None:
        """It went well: begin with the first pause again."""
        self._limit = self._first

    async def pause(self) -> None:
        """Wait for `delay()`."""
        await asyncio.sleep(self.delay())
