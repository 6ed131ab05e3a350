"""Wrong logins, counted in memory by account and by address: their answers are slowed down.

Nobody is shut out: a right secret is never asked how many wrong ones there were. Who guesses gets
his answers one by one and later and later, and who guesses from many places, all as one account,
too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from mesh.errors import ResourceExhausted

ALLOWED_AS_ONE = 10
ALLOWED_FROM_ONE = 50
WINDOW_SECONDS = 60.0
MAX_TRACKED = 10_000
# No answer comes sooner after its question, so that its time does not tell what it was held
# against; beyond those allowed each wrong try adds a step.
FIRST_SECONDS = 0.1
STEP_SECONDS = 0.25
MOST_SECONDS = 5.0
# So many answers are held back at a time, which costs a few KiB each; beyond that nobody waits.
MAX_HELD = 1_000


class Tries:
    """A bucket per key: each wrong try takes one, time gives them back.

    Args:
        allowed: wrong tries in one go; in WINDOW_SECONDS that many are given back.
        clock: seconds that only go forward.
    """

    def __init__(self, allowed: int, clock: Callable[[], float]) -> None:
        self._allowed = allowed
        self._most = allowed + MOST_SECONDS / STEP_SECONDS
        self._per_second = allowed / WINDOW_SECONDS
        self._clock = clock
        # key -> (wrong tries that still count, when that was so); oldest change first.
        self._counts: dict[str, tuple[float, float]] = {}

    def add(self, key: str) -> None:
        """Count one more wrong try."""
        count = min(self._most, self._count(key) + 1)
        self._counts.pop(key, None)
        if len(self._counts) >= MAX_TRACKED:
            del self._counts[next(iter(self._counts))]
        self._counts[key] = (count, self._clock())

    def beyond(self, key: str) -> float:
        """How many more they were than is allowed."""
        return max(0.0, self._count(key) - self._allowed)

    def forget(self, key: str) -> None:
        """Count none."""
        self._counts.pop(key, None)

    def _count(self, key: str) -> float:
        count, since = self._counts.get(key, (0.0, 0.0))
        return max(0.0, count - (self._clock() - since) * self._per_second)


class WrongLogins:
    """How long the answer to a wrong login takes.

    Args:
        clock: seconds that only go forward.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._as_one = Tries(ALLOWED_AS_ONE, clock)
        self._from_one = Tries(ALLOWED_FROM_ONE, clock)
        self._held = 0

    def record(self, client_id: str, address: str) -> None:
        """One more was wrong."""
        self._as_one.add(client_id)
        self._from_one.add(address)

    def record_unseen(self, address: str) -> None:
        """One more came while too many waited."""
        self._from_one.add(address)

    def forget(self, client_id: str) -> None:
        """The account's right secret was given."""
        self._as_one.forget(client_id)

    def seconds(self, client_id: str, address: str) -> float:
        """From the question to its answer."""
        beyond = max(self._as_one.beyond(client_id), self._from_one.beyond(address))
        return min(MOST_SECONDS, FIRST_SECONDS + beyond * STEP_SECONDS)

    async def hold_back(self, seconds: float) -> None:
        """Wait so long.

        Raises:
            ResourceExhausted: too many answers are held back already.
        """
        if self._held >= MAX_HELD:
            raise ResourceExhausted(
                f"too many wrong logins; try again in {MOST_SECONDS:.0f} s",
                retry_after_seconds=MOST_SECONDS,
                reason="TOO_MANY_WRONG_LOGINS",
            )
        self._held += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._held -= 1
