"""What an element's feed tells, as events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby

from admin_server.audit.event import Event, Outcome
from admin_server.clock import utc_now
from artstore.v1 import changes_pb2
from mesh.elements.feed_cursor import FeedCursor, encode

_ACTIONS = {
    changes_pb2.CHANGE_KIND_CREATED: "file.created",
    changes_pb2.CHANGE_KIND_UPDATED: "file.updated",
    changes_pb2.CHANGE_KIND_DELETED: "file.deleted",
    changes_pb2.CHANGE_KIND_UNDELETED: "file.undeleted",
    changes_pb2.CHANGE_KIND_PURGED: "file.purged",
    changes_pb2.CHANGE_KIND_ERASED: "file.erased",
}
HOLE = "feed.hole"


def events_of(element_id: str, changes: Sequence[changes_pb2.Change]) -> list[Event]:
    """Those that somebody made, in order; a run of which that is not said is a hole."""
    events: list[Event] = []
    for cause, run in groupby(changes, key=lambda change: change.cause):
        if cause == changes_pb2.CHANGE_CAUSE_UNSPECIFIED:
            events.append(_not_said(element_id, list(run)))
        elif cause != changes_pb2.CHANGE_CAUSE_REPAIR:
            events += [_event(element_id, change) for change in run]
    return events


def _not_said(element_id: str, run: Sequence[changes_pb2.Change]) -> Event:
    """An element of an earlier version told of repairs in the same way, so fewer may be lost."""
    return Event(
        occurred_at=_changed_at(run[-1]),
        action=HOLE,
        resource=element_id,
        outcome=Outcome.UNSPECIFIED,
        details={"reason": "NOT_SAID", "lost": str(len(run)), "goes_on_after": run[-1].cursor},
        storage_element_id=element_id,
        source_id=run[-1].cursor,
    )


def _event(element_id: str, change: changes_pb2.Change) -> Event:
    details = {"position": str(change.position)}
    if change.HasField("change_revision"):
        details["revision"] = str(change.change_revision)
    if change.cause != changes_pb2.CHANGE_CAUSE_CALLER:
        details["cause"] = _cause(change.cause)
    return Event(
        occurred_at=_changed_at(change),
        actor=change.actor,
        # A kind of a later version.
        action=_ACTIONS.get(change.kind, "file.changed"),
        resource=change.file_id,
        details=details,
        storage_element_id=element_id,
        request_id=change.request_id,
        reason=change.reason,
        # It names the change in every history: an element that was restored from a backup uses
        # its positions twice.
        source_id=change.cursor,
    )


def hole(element_id: str, old: FeedCursor, new: FeedCursor) -> list[Event]:
    """The event of a feed that goes on at `new` though `old` was reached; none if none is lost."""
    details: dict[str, str] = {}
    if not old.epoch:
        reason, lost = "FIRST_SEEN", new.sequence
        if not lost:
            return []
    elif old.epoch != new.epoch:
        reason, lost = "TABLES_LOST", None
    elif new.sequence >= old.sequence:
        reason, lost = "TRIMMED", new.sequence - old.sequence
    else:
        reason, lost = "RESTORED", None
    details["reason"] = reason
    if lost is not None:
        details["lost"] = str(lost)
    if old.epoch:
        details["broke_after"] = _place(old)
    details["goes_on_after"] = _place(new)
    return [
        Event(
            occurred_at=utc_now(),
            action=HOLE,
            resource=element_id,
            outcome=Outcome.UNSPECIFIED,
            details=details,
            storage_element_id=element_id,
        )
    ]


def _place(cursor: FeedCursor) -> str:
    return encode(cursor.epoch, cursor.sequence, cursor.change_id)


def _cause(number: int) -> str:
    known = changes_pb2.ChangeCause.DESCRIPTOR.values_by_number.get(number)
    return known.name.removeprefix("CHANGE_CAUSE_").lower() if known else str(number)


def _changed_at(change: changes_pb2.Change) -> datetime:
    try:
        return change.changed_at.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        return utc_now()
