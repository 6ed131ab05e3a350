"""Sequential Fill: which elements may take a file, in which order. Plain arithmetic."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

MAX_REPORT_AGE_SECONDS = 15.0
"""A report older than this says nothing any more: the one rule of freshness."""


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
        reported_at: seconds since 1970.
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

    def is_fresh(self, now: float) -> bool:
        """Whether the report is young enough to be believed."""
        return now - self.reported_at <= MAX_REPORT_AGE_SECONDS

    def has_room(self, size_bytes: int) -> bool:
        """Whether used + reserved + size stay within FULL per cent of the capacity."""
        taken = self.used_bytes + self.reserved_bytes + size_bytes
        return not self.full and taken * 100 <= self.capacity_bytes * _FULL_PERCENT[self.mode]


@dataclass(frozen=True, slots=True)
class Choice:
    """Who may take a file.

    Attributes:
        candidates: in the order to ask them.
        any_healthy: whether any element of the mode is healthy, with room or without.
    """

    candidates: tuple[Element, ...]
    any_healthy: bool


def choose(
    elements: Iterable[Element],
    *,
    mode: Mode,
    size_bytes: int | None,
    now: float,
    suspects: frozenset[str] = frozenset(),
) -> Choice:
    """Order the elements that may take a file of `size_bytes`.

    Args:
        mode: EDIT for temporary files, RW for permanent ones.
        size_bytes: None when it is not known; any room will do then, and the element itself
            reserves it in steps.
        now: seconds since 1970.
        suspects: ids of elements that failed a moment ago; they come last.

    An element that is not writable because it is full counts as healthy.
    """
    size = size_bytes or 0
    healthy = [
        element
        for element in elements
        if element.mode is mode
        and element.is_writer
        and element.is_fresh(now)
        and (element.writable or not element.has_room(0))
    ]
    candidates = [element for element in healthy if element.writable and element.has_room(size)]
    candidates.sort(
        key=lambda element: (
            element.element_id in suspects,
            element.priority,
            element.element_id,
        )
    )
    return Choice(tuple(candidates), bool(healthy))
