"""Whether this process's clock may be believed: ids, folders and times of files come from it.

PostgreSQL's and Redis's clocks decide. What they said is carried on by the monotonic clock, so
a jump of this process's own clock is seen by the next upload, without asking anybody. The newest
file of the store counts only while neither of the two answers: it tells of a clock that went
back, and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from mesh.errors import Unavailable

RETRY_SECONDS = 5.0
# What was heard longer ago says nothing any more: a machine may have slept meanwhile.
ANSWER_LIFE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one other clock said, as the difference between it and the monotonic clock."""

    offset: float
    uncertainty: float
    at: float


class Clock:
    """The element's wall clock, and what others say of it. One event loop, no locking.

    Args:
        element_id: for messages.
        tolerance_seconds: how far other clocks may differ; the time that an answer took on its
            way comes on top.
        wall: seconds since 1970, as this machine has them.
        monotonic: seconds that never go back.
    """

    def __init__(
        self,
        element_id: str,
        *,
        tolerance_seconds: float,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._element_id = element_id
        self._tolerance = tolerance_seconds
        self._wall = wall
        self._monotonic = monotonic
        self._answers: dict[str, _Answer] = {}
        self._newest_file = 0.0

    # --- what others say -------------------------------------------------------------

    def heard(self, whose: str, seconds: float, *, asked_at: float) -> None:
        """A clock's answer that has just come.

        Args:
            whose: `PostgreSQL` or `Redis`.
            seconds: since 1970, as it told them.
            asked_at: monotonic seconds when it was asked.
        """
        now = self._monotonic()
        took = now - asked_at
        answer = _Answer(seconds - (now - took / 2), took / 2, now)
        self._answers = dict(sorted({**self._answers, whose: answer}.items()))

    def newest_file(self, seconds: float) -> None:
        """When the newest file was made that is not dated ahead of every clock."""
        self._newest_file = seconds

    # --- what follows ----------------------------------------------------------------

    def monotonic(self) -> float:
        """For `heard`."""
        return self._monotonic()

    def ahead(self) -> Mapping[str, float]:
        """By how many seconds this clock is ahead of each other one; behind is negative."""
        return {whose: self._ahead(answer) for whose, answer in self._valid().items()}

    def disagreeing(self) -> Mapping[str, float]:
        """Those of `ahead` that are beyond the tolerance."""
        return {
            whose: self._ahead(answer)
            for whose, answer in self._valid().items()
            if not self._agrees(answer)
        }

    def doubt(self) -> str:
        """Why no id may be made, and what to do about it; empty when this clock is right.

        It is right when one of the others agrees with it, whatever a third one says.
        """
        valid = self._valid()
        if any(self._agrees(answer) for answer in valid.values()):
            return ""
        if valid:
            told = " and ".join(
                f"{_difference(self._ahead(answer))} {whose}'s" for whose, answer in valid.items()
            )
            return (
                f"the clock of {self._element_id} is wrong: it is {told}; set the clock of its"
                " machine (NTP does), the element then takes uploads again by itself"
            )
        behind = self._newest_file - self._wall()
        if behind > self._tolerance:
            return (
                f"the clock of {self._element_id} is wrong: its newest file was made"
                f" {behind:.0f} s later than this clock says, and neither PostgreSQL nor Redis"
                " tells the time; set the clock of its machine (NTP does)"
            )
        return ""

    def now(self) -> datetime:
        """The time for a new id, aware UTC.

        Raises:
            Unavailable: reason CLOCK.
        """
        if doubt := self.doubt():
            raise Unavailable(doubt, reason="CLOCK", retry_after_seconds=RETRY_SECONDS)
        return datetime.fromtimestamp(self._wall(), UTC)

    def agreed(self) -> float:
        """Seconds since 1970 by this clock, or by the other ones while it is wrong."""
        if not self.doubt():
            return self._wall()
        now = self._monotonic()
        return next((a.offset + now for a in self._valid().values()), self._wall())

    def agreed_time(self) -> datetime:
        """`agreed`, aware UTC."""
        return datetime.fromtimestamp(self.agreed(), UTC)

    def latest(self) -> float:
        """Seconds since 1970 by that one of the other clocks that is furthest ahead, or by ours."""
        now = self._monotonic()
        return max((a.offset + now for a in self._valid().values()), default=self._wall())

    # --- inside ----------------------------------------------------------------------

    def _valid(self) -> Mapping[str, _Answer]:
        oldest = self._monotonic() - ANSWER_LIFE_SECONDS
        return {whose: a for whose, a in self._answers.items() if a.at >= oldest}

    def _ahead(self, answer: _Answer) -> float:
        return self._wall() - (answer.offset + self._monotonic())

    def _agrees(self, answer: _Answer) -> bool:
        return abs(self._ahead(answer)) - answer.uncertainty <= self._tolerance


def _difference(ahead: float) -> str:
    return f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'}"
