"""Wrong logins, counted per client_id in memory."""

from __future__ import annotations

import time
from collections.abc import Callable

from mesh.errors import ResourceExhausted

ALLOWED = 10
WINDOW_SECONDS = 60.0
MAX_TRACKED = 10_000


class WrongAttempts:
    """A bucket per client_id: each wrong try takes one, time gives them back.

    Args:
        allowed: wrong tries in one go.
        window_seconds: time in which that many are given back.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        *,
        allowed: int = ALLOWED,
        window_seconds: float = WINDOW_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allowed = allowed
        self._per_second = allowed / window_seconds
        self._clock = clock
        # client_id -> (wrong tries that still count, when that was so); oldest change first.
        self._counts: dict[str, tuple[float, float]] = {}

    def check(self, client_id: str) -> None:
        """
        Raises:
            ResourceExhausted: too many wrong tries, whoever made them.
        """
        over = self._count(client_id) - (self._allowed - 1)
        if over > 0:
            seconds = max(1, round(over / self._per_second))
            raise ResourceExhausted(
                f"too many wrong logins as this account; try again in {seconds} s",
                reason="TOO_MANY_WRONG_LOGINS",
                metadata={"retry_after_seconds": str(seconds)},
            )

    def record(self, client_id: str) -> None:
        """Count one more wrong try."""
        count = self._count(client_id) + 1
        self._counts.pop(client_id, None)
        if len(self._counts) >= MAX_TRACKED:
            del self._counts[next(iter(self._counts))]
        self._counts[client_id] = (count, self._clock())

    def forget(self, client_id: str) -> None:
        """Count none: the right secret was given."""
        self._counts.pop(client_id, None)

    def _count(self, client_id: str) -> float:
        count, since = self._counts.get(client_id, (0.0, 0.0))
        return max(0.0, count - (self._clock() - since) * self._per_second)
