"""Sequential Fill: which elements may take a file, in which order. Plain arithmetic."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

MAX_REPORT_AGE_SECONDS = 15.0
"""A report older than this says nothing any more: the one rule of freshness.

Its age is counted by this process's monotonic clock since the report was seen to change
(`heard`), so that clocks that differ do no harm."""


class Mode(StrEnum):
    """What an element allows, as far as placement cares."""

    EDIT = "edit"
    RW = "rw"
    OTHER = "other"


# Whole per cents of the capacity from which an element takes no upload.
_FULL_PERCENT = {Mode.EDIT: 99, Mode.RW: 98, Mode.OTHER: 0}


@dataclass(frozen=True, slots=True)
class Element:
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
        heard_at: when it was made at the earliest, in seconds of this process's monotonic clock.
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
        return now - self.heard_at <= MAX_REPORT_AGE_SECONDS

    def why_not_now(self, now: float) -> str:
        """Why it takes no upload at the moment, room aside; empty when it does."""
        if not self.is_fresh(now):
            if self.reported_at <= 0:
                return "has not reported yet"
            return f"has not reported for {now - self.heard_at:.0f} s"
        if not self.is_writer:
            return "is a standby, and its writer does not report"
        if self.writable:
            return ""
        why = f": {self.unwritable_reason}" if self.unwritable_reason else ""
        return f"says that it can't write now{why}"

    def has_room(self, size_bytes: int) -> bool:
        """Whether used + reserved + size stay within FULL per cent of the capacity."""
        taken = self.used_bytes + self.reserved_bytes + size_bytes
        return not self.full and taken * 100 <= self.capacity_bytes * _FULL_PERCENT[self.mode]


def heard(
    element: Element, before: Element | None, *, seen_at: float, now: float, wall: float
) -> Element:
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
    plausible = abs(age) <= MAX_REPORT_AGE_SECONDS
    believed = plausible or before is not None if element.healthy is None else element.healthy
    if not believed:
        return replace(element, heard_at=now - max(abs(age), MAX_REPORT_AGE_SECONDS + 1))
    longest = MAX_REPORT_AGE_SECONDS if before is None else now - seen_at
    return replace(element, heard_at=now - (min(max(age, 0.0), longest) if plausible else 0.0))


@dataclass(frozen=True, slots=True)
class Choice:
    """Who may take a file, and why the others of its mode can't. All empty: there are none.

    Attributes:
        candidates: in the order to ask them.
        full: those whose last report says that they have no room for it.
        waiting: those that have room and can't take it at the moment: id and why.
    """

    candidates: tuple[Element, ...]
    full: tuple[Element, ...]
    waiting: tuple[tuple[str, str], ...]


def choose(
    elements: Iterable[Element],
    *,
    mode: Mode,
    size_bytes: int | None,
    now: float,
    suspects: frozenset[str] = frozenset(),
) -> Choice:
    """Order the elements that may take a file of `size_bytes`, and sort out the others.

    Args:
        mode: EDIT for temporary files, RW for permanent ones; elements in another one don't count.
        size_bytes: None when it is not known; any room will do then, and the element itself
            reserves it in steps.
        now: seconds of the monotonic clock.
        suspects: ids of elements that failed a moment ago; they come last.

    An element that is not writable because it is full counts as full, also one that is silent:
    nothing is gained by waiting for it.
    """
    size = size_bytes or 0
    of_mode = sorted((e for e in elements if e.mode is mode), key=lambda e: e.element_id)
    full = [element for element in of_mode if not element.has_room(size)]
    reasons = {e.element_id: e.why_not_now(now) for e in of_mode if e.has_room(size)}
    candidates = [e for e in of_mode if reasons.get(e.element_id) == ""]
    candidates.sort(
        key=lambda element: (
            element.element_id in suspects,
            element.priority,
            element.element_id,
        )
    )
    waiting = tuple((name, why) for name, why in reasons.items() if why)
    return Choice(tuple(candidates), tuple(full), waiting)
