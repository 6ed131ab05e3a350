"""WatchChanges: the change feed as followers read it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, aclosing, nullcontext
from datetime import UTC, datetime
from typing import Any

from artstore.v1 import changes_pb2 as pb
from artstore.v1 import types_pb2
from mesh.elements import feed_cursor
from mesh.errors import PermissionDenied
from mesh.identity.caller import ALL_NAMESPACES, Role, current_caller
from mesh.identity.expiry import current_expiry
from storage_server.catalog.feed import Change, Feed
from storage_server.catalog.rows import FileRow
from storage_server.element.state import Element
from storage_server.feed import (
    Beat,
    ChangeBatch,
    ChangeWatch,
    FeedEvent,
    History,
    SnapshotBegins,
    SnapshotEnds,
    SnapshotFiles,
)
from storage_server.feed.reach import Reach
from storage_server.rpc.messages import CHANGE_CAUSES, CHANGE_KINDS, file_message, timestamp
from storage_server.writing.view import of_row

# A batch is put into words in pieces, so that other calls have their turn between them.
TURN = 100

# Those that followers of the first version do not know.
LATER_STATES = frozenset(types_pb2.FileState.values()) - {
    types_pb2.FILE_STATE_UNSPECIFIED,
    types_pb2.FILE_STATE_ACTIVE,
    types_pb2.FILE_STATE_DELETED,
    types_pb2.FILE_STATE_MOVED,
}
Hidden = frozenset[int]


class FeedStreams:
    """Serves the feed to followers."""

    def __init__(self, element: Element, watch: ChangeWatch, history: History, feed: Feed) -> None:
        self._element = element
        self._watch = watch
        self._history = history
        self._feed = feed

    async def watch(self, request: pb.WatchChangesRequest, context: Any) -> None:
        """One follower, until it leaves or its token ends; a snapshot is let end first.

        Raises:
            InvalidArgument: the cursor is none.
            PermissionDenied: the history is asked for by a token of some namespaces.
            Unavailable: PostgreSQL does not answer, the tables are not there, or files that
                lack a row cannot be looked for now.
        """
        cursor = feed_cursor.decode(request.cursor)
        self._element.require_tables()
        if request.changes_only and ALL_NAMESPACES not in current_caller().namespaces_read:
            raise PermissionDenied(
                "changes_only needs a token of all namespaces", reason="NAMESPACE"
            )
        reach = Reach(current_caller(), self._feed, self._element.reading)
        source = self._history if request.changes_only else self._watch
        hidden = LATER_STATES - frozenset(request.known_states)
        async with aclosing(source.follow(cursor)) as events:
            with self._noted(request, hidden):
                await self._tell(events, reach, hidden, context)

    async def _tell(
        self, events: AsyncIterator[FeedEvent], reach: Reach, hidden: Hidden, context: Any
    ) -> None:
        expiry, element_id = current_expiry.get(), self._element.element_id
        async for event in events:
            if expiry is not None and isinstance(event, SnapshotBegins):
                expiry.hold_up()
            told = await reach.of(event)
            if told is not None:
                await context.write(await to_message(told, element_id, hidden))
            if expiry is not None and isinstance(event, SnapshotEnds):
                expiry.go_on()

    def _noted(
        self, request: pb.WatchChangesRequest, hidden: Hidden
    ) -> AbstractContextManager[None]:
        """Whoever is told no files, or not all, or is no server of the mesh, holds no move up."""
        caller = current_caller()
        of_the_mesh = caller.role is Role.SERVICE and ALL_NAMESPACES in caller.namespaces_read
        if request.changes_only or not of_the_mesh:
            return nullcontext()
        return self._watch.behind.following(caller.subject, knows_all=not hidden)


async def to_message(
    event: FeedEvent, element_id: str, hidden: Hidden = frozenset()
) -> pb.WatchChangesResponse:
    """One part of the feed, in words of the contract.

    Args:
        hidden: states that the follower does not know; their files are told as deleted.
    """
    message = pb.WatchChangesResponse()
    if isinstance(event, ChangeBatch):
        for number, change in enumerate(event.changes):
            message.changes.changes.append(_change(change, event.epoch, element_id, hidden))
            if number % TURN == TURN - 1:
                await asyncio.sleep(0)
    elif isinstance(event, SnapshotFiles):
        for number, row in enumerate(event.rows):
            message.changes.changes.append(_file(row, element_id, hidden))
            if number % TURN == TURN - 1:
                await asyncio.sleep(0)
    elif isinstance(event, Beat):
        cursor = event.cursor
        message.heartbeat.cursor = _text(cursor.epoch, cursor.sequence, cursor.change_id)
        message.heartbeat.position = cursor.sequence
        message.heartbeat.head_position = event.head
    elif isinstance(event, SnapshotBegins):
        message.snapshot_begin.cursor = _text(event.epoch, event.head, event.change_id)
        message.snapshot_begin.head_position = event.head
        message.snapshot_begin.file_count = event.total
    else:
        message.snapshot_end.cursor = _text(event.epoch, event.head, event.change_id)
        message.snapshot_end.position = event.head
    return message


_text = feed_cursor.encode


def _told(row: FileRow, element_id: str, hidden: Hidden) -> types_pb2.File:
    file = file_message(of_row(row, datetime.now(UTC)), element_id)
    if file.state in hidden:
        file.state = types_pb2.FILE_STATE_DELETED
    return file


def _file(row: FileRow, element_id: str, hidden: Hidden) -> pb.Change:
    """A file of a snapshot."""
    return pb.Change(
        position=row.sequence,
        kind=pb.CHANGE_KIND_SNAPSHOT,
        file_id=row.sidecar.file_id,
        file=_told(row, element_id, hidden),
        revision=row.sidecar.revision,
        digest=row.digest.hex(),
    )


def _change(change: Change, epoch: str, element_id: str, hidden: Hidden) -> pb.Change:
    kind = CHANGE_KINDS[change.kind]
    message = pb.Change(
        cursor=_text(epoch, change.sequence, change.change_id),
        position=change.sequence,
        kind=kind,
        file_id=change.file_id,
        changed_at=timestamp(change.changed_at),
        change_revision=change.revision,
    )
    origin = change.origin
    if origin is not None:
        message.cause = CHANGE_CAUSES[origin.cause]
        message.actor = origin.actor
        message.request_id = origin.request_id
        message.reason = origin.reason
    row = change.row
    # A row that went since was cleaned or purged: the follower asks for the file.
    if row is not None and kind not in (pb.CHANGE_KIND_DROPPED, pb.CHANGE_KIND_PURGED):
        message.file.CopyFrom(_told(row, element_id, hidden))
        message.revision = row.sidecar.revision
        message.digest = row.digest.hex()
    return message
