"""WatchChanges: the change feed as followers read it."""

from __future__ import annotations

from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from artstore.v1 import storage_pb2 as pb
from artstore.v1 import types_pb2
from storage_server.element.state import Element
from storage_server.feed import (
    Beat,
    ChangeEvent,
    ChangeWatch,
    FeedCursor,
    FeedEvent,
    SnapshotBegins,
)
from storage_server.files.view import of_row
from storage_server.rpc.messages import CHANGE_KINDS, file_message, timestamp


class FeedStreams:
    """Serves the feed to followers."""

    def __init__(self, element: Element, watch: ChangeWatch) -> None:
        self._element = element
        self._watch = watch

    async def watch(self, request: pb.WatchChangesRequest, context: Any) -> None:
        """One follower, until it leaves.

        Raises:
            Unavailable: PostgreSQL does not answer, the tables are not there, or files that
                lack a row cannot be looked for now.
        """
        self._element.require_tables()
        cursor = FeedCursor(request.epoch, request.after_sequence, request.after_change_id)
        async with aclosing(self._watch.follow(cursor)) as events:
            async for event in events:
                await context.write(to_message(event, self._element.element_id))


def to_message(event: FeedEvent, element_id: str) -> pb.WatchChangesResponse:
    """One part of the feed, in words of the contract."""
    if isinstance(event, ChangeEvent):
        return pb.WatchChangesResponse(change=_change(event, element_id))
    if isinstance(event, Beat):
        return pb.WatchChangesResponse(heartbeat=pb.Heartbeat(epoch=event.epoch, head=event.head))
    if isinstance(event, SnapshotBegins):
        return pb.WatchChangesResponse(
            snapshot_begin=pb.SnapshotBegin(epoch=event.epoch, head=event.head, total=event.total)
        )
    return pb.WatchChangesResponse(
        snapshot_end=pb.SnapshotEnd(epoch=event.epoch, head=event.head, change_id=event.change_id)
    )


def _change(event: ChangeEvent, element_id: str) -> pb.Change:
    change, row = event.change, event.row
    file = None
    if row is not None:
        file = file_message(of_row(row, datetime.now(UTC)), element_id)
    if change is None:
        return pb.Change(sequence=row.sequence if row else 0, file=file)
    kind = CHANGE_KINDS[change.kind]
    if file is None or kind == pb.CHANGE_KIND_DROPPED:
        # A row that went since was cleaned or purged: the follower asks for the file.
        file = types_pb2.File(file_id=change.file_id, storage_element_id=element_id)
    return pb.Change(
        sequence=change.sequence,
        change_id=change.change_id,
        kind=kind,
        file=file,
        changed_at=timestamp(change.changed_at),
    )
