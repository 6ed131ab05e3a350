"""Sequential Fill: which elements may take a file, in which order. Plain arithmetic."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mesh.contract import FULL_PERCENT
from mesh.elements.seen import Mode, SeenElement


def why_not_now(element: SeenElement, now: float) -> str:
    """Why it takes no upload at the moment, room aside; empty when it does."""
    if not element.is_fresh(now):
        if element.reported_at <= 0:
            return "has not reported yet"
        return f"has not reported for {now - element.heard_at:.0f} s"
    if not element.is_writer:
        return "is a standby, and its writer does not report"
    if element.writable:
        return ""
    why = f": {element.unwritable_reason}" if element.unwritable_reason else ""
    return f"says that it can't write now{why}"


def has_room(element: SeenElement, size_bytes: int) -> bool:
    """Whether used + reserved + size stay within FULL per cent of the capacity."""
    taken = element.used_bytes + element.reserved_bytes + size_bytes
    limit = element.capacity_bytes * FULL_PERCENT.get(element.mode, 0)
    return not element.full and taken * 100 <= limit


@dataclass(frozen=True, slots=True)
class Choice:
    """Who may take a file, and why the others of its mode can't. All empty: there are none.

    Attributes:
        candidates: in the order to ask them.
        full: those whose last report says that they have no room for it.
        waiting: those that have room and can't take it at the moment: id and why.
    """

    candidates: tuple[SeenElement, ...]
    full: tuple[SeenElement, ...]
    waiting: tuple[tuple[str, str], ...]


def choose(
    elements: Iterable[SeenElement],
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
    full = [element for element in of_mode if not has_room(element, size)]
    reasons = {e.element_id: why_not_now(e, now) for e in of_mode if has_room(e, size)}
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
