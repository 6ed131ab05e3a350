"""A storage element as others see it: its last report, and how old that is. Plain arithmetic."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from mesh import contract
from mesh.contract import MAX_REPORT_AGE_SECONDS

ELEMENT_ID = re.compile(contract.ELEMENT_ID)
"""What an element may be called."""


def is_young(age_seconds: float) -> bool:
    """Whether a report of that age still says anything: the one rule of freshness."""
    return age_seconds <= MAX_REPORT_AGE_SECONDS


class Mode(StrEnum):
    """What an element allows, as far as uploads care."""

    EDIT = "edit"
    RW = "rw"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class SeenElement:
    """A storage element as it last reported itself. Sizes are bytes.

    Attributes:
        endpoint: host:port.
        writable: its own word that it takes uploads now (storage and database work).
        is_writer: False for a standby, which serves reads.
        full: its own word that it is FULL.
        unwritable_reason: its own word why it is not writable; may be empty.
        reported_at: seconds since 1970, by the clock of whoever wrote the report down; only good
            to see that a report is another one.
        healthy: admin's word that it has reported to it lately; None where the report says
            nothing of that.
        heard_at: when it was made at the earliest, in seconds of this process's monotonic clock
            (`heard`), so that clocks that differ do no harm.
    """

    element_id: str
    endpoint: str
    mode: Mode
    priority: int
    capacity_bytes: int
    used_bytes: int
    reserved_bytes: int
    writable: bool
    is_writer: bool
    full: bool
    reported_at: float
    unwritable_reason: str = ""
    healthy: bool | None = None
    heard_at: float = float("-inf")

    def is_fresh(self, now: float) -> bool:
        """Whether the report is young enough to be believed, at `now` of the monotonic clock."""
        return is_young(now - self.heard_at)


def heard(
    element: SeenElement, before: SeenElement | None, *, seen_at: float, now: float, wall: float
) -> SeenElement:
    """A report that was just read, with the time it was made at as far as this process can tell.

    One that differs from `before` was made since that was read. Within those bounds, and only
    there, its own time says when. The first report that a source has of an element may be of any
    age: it is believed when its time is about ours, or when admin says that the element is
    healthy; else the next one is.

    Args:
        before: what the same source had when it was read before; None when it had nothing.
        seen_at: monotonic seconds when that was.
        now: monotonic seconds now.
        wall: seconds since 1970 now.
    """
    if before is not None and before.reported_at == element.reported_at:
        return replace(element, heard_at=before.heard_at)
    age = wall - element.reported_at
    plausible = is_young(abs(age))
    believed = plausible or before is not None if element.healthy is None else element.healthy
    if not believed:
        return replace(element, heard_at=now - max(abs(age), MAX_REPORT_AGE_SECONDS + 1))
    longest = MAX_REPORT_AGE_SECONDS if before is None else now - seen_at
    return replace(element, heard_at=now - (min(max(age, 0.0), longest) if plausible else 0.0))
