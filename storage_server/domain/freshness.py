"""For how long what admin decided may be carried out: one rule for every step."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from mesh.errors import Aborted

DECISIONS_LIVE = timedelta(seconds=60)
"""A step that was decided longer ago is not taken: others may have been decided since."""

CLOCKS_DIFFER = timedelta(seconds=5)
"""A decision from further in the future is refused: it would be taken for as much longer. Of one
that says for how long it may be taken, a seventh of that at most: admin counts on no more.
"""


@dataclass(frozen=True, slots=True)
class Freshness:
    """When a step was decided, by admin's clock.

    Attributes:
        until: it is not taken later; None means `DECISIONS_LIVE` after it was decided, which no
            `until` goes beyond.
    """

    decided_at: datetime
    until: datetime | None = None

    def require(self, now: datetime) -> None:
        """
        Raises:
            Aborted: reason STALE; it was decided too long before `now`, or is still to be.
        """
        until, ahead = self.decided_at + DECISIONS_LIVE, CLOCKS_DIFFER
        if self.until is not None:
            until = min(until, self.until)
            ahead = min(ahead, (self.until - self.decided_at) / 7)
        if not self.decided_at - ahead <= now <= until:
            raise Aborted(
                "the step was decided too long ago, or the clocks of admin and of this element"
                " differ by as much; look again",
                reason="STALE",
            )
