"""WatchChanges: the change feed as followers read it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, aclosing, nullcontext
from datetime import UTC, datetime
from typing import Any

from artstore.v1 import changes_pb2 as pb
from artstore.v1 import types_pb2
from mesh.concurrency.watched import seen
from mesh.elements import feed_cursor
from mesh.errors import PermissionDenied
from mesh.identity.caller import ALL_NAMESPACES, Role, current_caller
from mesh.identity.expiry import current_expiry
from storage_server.catalog.feed import Change, Feed
from storage_server.catalog.rows import FileRow, StoredRow
from storage_server.domain.kinds import ChangeKind
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
from storage_server.rpc.messages import CHANGE_CAUSES, CHANGE_KINDS, file_message
from storage_server.rpc.told import tell_file, tell_time
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
_OF_NO_FILE = frozenset({ChangeKind.DROPPED, ChangeKind.PURGED})
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
    if isinstance(event, ChangeBatch):
        task = event.told.get(hidden)
        if task is None:
            task = event.told[hidden] = asyncio.create_task(_batch(event, element_id, hidden))
            task.add_done_callback(seen)
        batch: pb.WatchChangesResponse = await asyncio.shield(task)
        return batch
    if isinstance(event, SnapshotFiles):
        return await _files(event, element_id, hidden)
    message = pb.WatchChangesResponse()
    if isinstance(event, Beat):
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


async def _batch(event: ChangeBatch, element_id: str, hidden: Hidden) -> pb.WatchChangesResponse:
    """Changes, for all followers who know the same."""
    message, now = pb.WatchChangesResponse(), datetime.now(UTC)
    for number, change in enumerate(event.changes, start=1):
        told = message.changes.changes.add()
        _tell_change(told, change, event.epoch)
        # A row that went since was cleaned or purged: the follower asks for the file.
        if change.row is not None and change.kind not in _OF_NO_FILE:
            _tell_row(told, change.row, element_id, hidden, now)
        if number % TURN == 0:
            await asyncio.sleep(0)
    return message


async def _files(event: SnapshotFiles, element_id: str, hidden: Hidden) -> pb.WatchChangesResponse:
    """Files of a snapshot."""
    message, now = pb.WatchChangesResponse(), datetime.now(UTC)
    for number, row in enumerate(event.rows, start=1):
        told = message.changes.changes.add()
        told.kind = pb.CHANGE_KIND_SNAPSHOT
        _tell_row(told, row, element_id, hidden, now)
        told.file_id = told.file.file_id
        told.position = row.record["sequence"] if isinstance(row, StoredRow) else row.sequence
        if number % TURN == 0:
            await asyncio.sleep(0)
    return message


def _tell_change(told: pb.Change, change: Change, epoch: str) -> None:
    told.cursor = _text(epoch, change.sequence, change.change_id)
    told.position = change.sequence
    told.kind = CHANGE_KINDS[change.kind]
    told.file_id = change.file_id
    tell_time(told.changed_at, change.changed_at)
    if change.revision is not None:
        told.change_revision = change.revision
    origin = change.origin
    if origin is not None:
        told.cause = CHANGE_CAUSES[origin.cause]
        told.actor = origin.actor
        told.request_id = origin.request_id
        told.reason = origin.reason


def _tell_row(
    told: pb.Change, row: FileRow, element_id: str, hidden: Hidden, now: datetime
) -> None:
    file = told.file
    if isinstance(row, StoredRow):
        tell_file(file, row.record, element_id, now)
        told.digest = row.record["digest"].hex()
    else:
        file.CopyFrom(file_message(of_row(row, now), element_id))
        told.digest = row.digest.hex()
    told.revision = file.revision
    if file.state in hidden:
        file.state = types_pb2.FILE_STATE_DELETED
