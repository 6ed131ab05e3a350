"""Snapshot and tail of one element's feed, for one follower."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress

import structlog

from mesh.concurrency.single_flight import SingleFlight
from mesh.contract import HEARTBEAT_SECONDS
from mesh.elements.feed_cursor import FeedCursor
from mesh.errors import Unavailable
from storage_server.catalog.catalog import Catalog
from storage_server.catalog.feed import Head
from storage_server.feed.events import (
    BATCH,
    Beat,
    FeedEvent,
    SnapshotBegins,
    SnapshotEnds,
    SnapshotFiles,
)
from storage_server.feed.known_states import FollowersBehind
from storage_server.feed.pieces import Pieces

log = structlog.get_logger("storage_server.feed")

# What this process writes rings; other processes' writes are found by looking.
POLL_SECONDS = 1.0
MAX_REPAIRS = 3
# All followers share the one that runs.
_REPAIR = "repair"


class ChangeWatch:
    """Serves followers of one element.

    Args:
        catalog: of the element.
        make_complete: finds files that lack a row; called before a snapshot when rows were
            cleaned or lost, since a file without a row would never reach a new follower.
            Followers that wait for it share one call.

    Attributes:
        behind: which followers do not know all states of a file.
    """

    def __init__(self, catalog: Catalog, *, make_complete: Callable[[], Awaitable[object]]) -> None:
        self._catalog = catalog
        self._make_complete = make_complete
        self._repairs = SingleFlight[str, object]()
        self._pieces = Pieces(catalog.feed)
        self.behind = FollowersBehind()

    async def follow(self, cursor: FeedCursor) -> AsyncGenerator[FeedEvent, None]:
        """The feed from `cursor` on, for ever; a snapshot first when the cursor is of no use.

        Raises:
            Unavailable: PostgreSQL does not answer, the tables are being made anew, or a
                needed repair could not run.
        """
        while True:
            asked_at = time.monotonic()
            head = await self._catalog.feed.head()
            if not await self._known(cursor, head):
                async for event in self._snapshot():
                    yield event
                    if isinstance(event, SnapshotEnds):
                        cursor = FeedCursor(event.epoch, event.head, event.change_id)
            async for event in self._tail(cursor, asked_at):
                yield event
            # The history is not the cursor's any more: made anew, restored, or trimmed.
            cursor = FeedCursor()

    async def stop(self) -> None:
        """Leave a repair that is under way to itself."""
        await self._repairs.stop()
        await self._pieces.stop()

    async def _tail(self, cursor: FeedCursor, since: float) -> AsyncIterator[FeedEvent]:
        """Changes after the cursor as they come; ends when they are not to be had.

        Args:
            since: as of `Pieces.after`.
        """
        beaten, rings = 0.0, self._catalog.bell.listen()
        while True:
            after = cursor.sequence
            rings.take()
            piece = await self._pieces.after(cursor.epoch, after, since=since)
            tail = piece.tail
            if tail.epoch != cursor.epoch or tail.head < after:
                return
            if tail.head > after and (not tail.changes or tail.changes[0].sequence != after + 1):
                return
            if time.monotonic() - beaten > HEARTBEAT_SECONDS:
                beaten = time.monotonic()
                yield Beat(cursor, tail.head)
            if not tail.changes:
                await rings.wait(POLL_SECONDS)
                continue
            yield piece.batch
            last = tail.changes[-1]
            cursor = FeedCursor(tail.epoch, last.sequence, last.change_id)

    async def _known(self, cursor: FeedCursor, head: Head) -> bool:
        """Whether the cursor is a place in this feed's kept history."""
        if cursor.epoch != head.epoch or not 0 <= cursor.sequence <= head.sequence:
            return False
        if cursor.sequence == 0:
            return head.sequence == 0 or await self._catalog.feed.oldest() == 1
        # The entry itself must be there: without it nothing tells that the history is the same.
        return await self._catalog.feed.change_id_at(cursor.sequence) == cursor.change_id

    async def _snapshot(self) -> AsyncIterator[FeedEvent]:
        feed = self._catalog.feed
        async for beat in self._completed():
            yield beat
        head = await feed.head()
        change_id = await feed.change_id_at(head.sequence) or ""
        yield SnapshotBegins(head.epoch, head.sequence, change_id, await feed.total_rows())
        async for rows in feed.rows_in_batches():
            for start in range(0, len(rows), BATCH):
                yield SnapshotFiles(rows[start : start + BATCH])
        # Rows cleaned before their turn came are put back, and reach the follower by the tail.
        async for beat in self._completed():
            yield beat
        if (await feed.head()).epoch != head.epoch:
            raise Unavailable("the element's tables were made anew during a snapshot")
        yield SnapshotEnds(head.epoch, head.sequence, change_id)

    async def _completed(self) -> AsyncIterator[Beat]:
        """Beats until no file lacks a row."""
        for _ in range(MAX_REPAIRS):
            if not await self._catalog.feed.rows_lost():
                return
            if _REPAIR not in self._repairs:
                log.info("rows were lost: files without one are looked for before a snapshot")
            repair = self._repairs.join(_REPAIR, self._make_complete)
            while not repair.done():
                with suppress(Unavailable):
                    head = await self._catalog.feed.head()
                    # Nothing of this history was told yet.
                    yield Beat(FeedCursor(head.epoch), head.sequence)
                await asyncio.wait((repair,), timeout=HEARTBEAT_SECONDS)
            repair.result()
        raise Unavailable("rows are lost faster than they can be put back")
