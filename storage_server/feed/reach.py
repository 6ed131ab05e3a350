"""What of a feed those are told who may not read all namespaces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from mesh.errors import DataLoss
from mesh.identity.caller import ALL_NAMESPACES, Caller
from storage_server.catalog.feed import Change, Feed
from storage_server.feed.events import ChangeBatch, FeedEvent, SnapshotBegins, SnapshotFiles
from storage_server.sidecars.locate import locate
from storage_server.store.port import Store


@dataclass(frozen=True, slots=True)
class Reach:
    """One follower's part of a feed: files of its namespaces, at the places they have in all of it.

    Attributes:
        caller: who follows.
        store: of the element, asked when a change has no row that names its namespace.
    """

    caller: Caller
    feed: Feed
    store: Callable[[], Store]

    async def of(self, event: FeedEvent) -> FeedEvent | None:
        """What is told of `event`; None for nothing.

        Raises:
            Unavailable: the database or the store, which must be asked, does not answer.
        """
        if ALL_NAMESPACES in self.caller.namespaces_read:
            return event
        if isinstance(event, SnapshotBegins):
            namespaces = sorted(self.caller.namespaces_read)
            return replace(event, total=await self.feed.total_rows(namespaces))
        if isinstance(event, SnapshotFiles):
            rows = [row for row in event.rows if self.caller.may_read(row.sidecar.namespace)]
            return SnapshotFiles(rows) if rows else None
        if isinstance(event, ChangeBatch):
            changes = [change for change in event.changes if await self._is_told(change)]
            return replace(event, changes=changes) if changes else None
        return event

    async def _is_told(self, change: Change) -> bool:
        if change.row is not None:
            return self.caller.may_read(change.row.sidecar.namespace)
        try:
            located = await locate(self.store(), change.file_id)
        except DataLoss:
            return False
        # Of a file without row and sidecar nobody knows the namespace any more.
        return located is not None and self.caller.may_read(located.sidecar.namespace)
