"""What a run takes away of one file: planned from one look, so that a dry run equals the run.

What comes next is decided in `admin_server/life/next_steps.py` alone. Here the steps that take
something away are followed one after the other, as far as their outcome is known beforehand and
each is another element's. What else is to be done of the file is not the collector's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from admin_server.collection.collection import Reason
from admin_server.life.next_steps import (
    Collect,
    Collected,
    Copy,
    CopyState,
    Seen,
    Terms,
    next_steps,
)

_TAKES_AWAY = frozenset({Collected.TO_GONE, Collected.TO_DELETED, Collected.PURGE})


@dataclass(frozen=True, slots=True)
class Planned:
    """A step that takes something away.

    Attributes:
        frees_bytes: a blob goes from the element.
    """

    step: Collect
    reason: Reason
    frees_bytes: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be taken away now, in order.

    Attributes:
        settles: something else is to be done of the file.
    """

    steps: Sequence[Planned]
    settles: bool


def plan(seen: Seen, terms: Terms, now: datetime) -> Plan:
    """The plan for a file of which that was seen.

    Args:
        now: by admin's clock.
    """
    planned: list[Planned] = []
    settles = False
    while True:
        steps = next_steps(seen, terms, now)
        settles = settles or any(not _takes_away(step) for step in steps)
        met = {one.step.element_id for one in planned}
        found = next(
            (
                step
                for step in steps
                if isinstance(step, Collect)
                and _takes_away(step)
                and step.element_id not in met
                and not _is_held(seen, step)
            ),
            None,
        )
        if found is None:
            return Plan(planned, settles)
        copy = _copy_on(seen, found.element_id)
        if copy is None:
            return Plan(planned, settles)
        frees = found.step is Collected.TO_GONE and copy.bytes_present
        planned.append(Planned(found, _reason(seen, copy, found), frees))
        seen = after(seen, found, now)


def still_due(step: Collect, seen: Seen, terms: Terms, now: datetime) -> bool:
    """Whether a step that was planned before others were taken is still to be taken."""
    return step in next_steps(seen, terms, now)


def after(seen: Seen, step: Collect, now: datetime) -> Seen:
    """What would be seen once the step was taken."""
    copies = []
    for copy in seen.copies:
        if copy.element_id != step.element_id:
            copies.append(copy)
        elif step.step is Collected.TO_GONE:
            copies.append(
                replace(
                    copy,
                    state=CopyState.GONE,
                    bytes_present=False,
                    moved_to=step.moved_to,
                    deleted_at=None,
                    legal_hold=False,
                    updated_at=now,
                )
            )
        elif step.step is Collected.TO_DELETED:
            copies.append(
                replace(copy, state=CopyState.DELETED, revision=copy.revision + 1, updated_at=now)
            )
    return replace(seen, copies=tuple(copies))


def _takes_away(step: object) -> bool:
    return isinstance(step, Collect) and step.step in _TAKES_AWAY


def _copy_on(seen: Seen, element_id: str) -> Copy | None:
    return next((copy for copy in seen.copies if copy.element_id == element_id), None)


def _is_held(seen: Seen, step: Collect) -> bool:
    """Whether its element refuses the step: a held copy goes once its home's bytes were read."""
    copy = _copy_on(seen, step.element_id)
    if copy is None or not copy.legal_hold:
        return False
    is_refused = copy.state is CopyState.COPY and not step.read_back
    return step.step is not Collected.TO_GONE or is_refused


def _reason(seen: Seen, copy: Copy, step: Collect) -> Reason:
    if step.step is Collected.TO_DELETED:
        return Reason.EXPIRED
    if step.step is Collected.PURGE:
        return Reason.TRASH
    if any(one.state is CopyState.DELETED for one in seen.copies):
        return Reason.TRASH
    return Reason.MOVED if copy.state is CopyState.MOVED else Reason.SURPLUS
