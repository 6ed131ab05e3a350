"""Where a follower is in one element's feed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mesh.elements.feed_cursor import FeedCursor as Cursor
from mesh.elements.feed_cursor import decode
from mesh.errors import InvalidArgument, Unavailable

__all__ = ["Cursor", "Lead", "SyncStatus", "cursor_of"]


def cursor_of(text: str) -> Cursor:
    """The cursor that an element told.

    Raises:
        Unavailable: it is none.
    """
    try:
        return decode(text)
    except InvalidArgument as exc:
        raise Unavailable("the element's change feed makes no sense") from exc


@dataclass(frozen=True, slots=True)
class Lead:
    """What the leading process knows when it takes or renews the lead.

    Attributes:
        wanted: number of the last snapshot that somebody asked for.
        done: number of the last one that was applied; lower than `wanted` while one is due.
        snapshot_age_seconds: since the last snapshot was applied; None before the first.
    """

    cursor: Cursor
    wanted: int
    done: int
    snapshot_age_seconds: float | None


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """How far the table follows one element, as kept beside the table.

    Attributes:
        element_id: se-01.
        cursor: what is applied.
        head: last sequence the element told of.
        behind_since: since when the table may lack a change; None at the head.
        complete: a whole snapshot of this epoch was applied.
        last_error: what went wrong last, empty while all is well.
        failures: how often following went wrong, ever.
        last_contact_at: when something of the cursor's epoch was last heard from the element.
        wanted, done: numbers of the last snapshot asked for and applied.
        snapshot_files: files read so far by the snapshot under way, or by the last one.
        snapshot_alive_at: when something was last heard from the element about a snapshot.
        set_aside: files whose newest state the table could not take.
        read_at: the database's time of this reading.
    """

    element_id: str
    cursor: Cursor
    head: int
    behind_since: datetime | None
    complete: bool
    last_error: str
    failures: int
    last_contact_at: datetime | None
    wanted: int
    done: int
    snapshot_files: int
    snapshot_alive_at: datetime | None
    set_aside: int
    read_at: datetime
