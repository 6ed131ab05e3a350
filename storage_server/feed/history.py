"""What happened, as the audit follows it: every change that is kept, and where some are missing.

Files are left out, and nobody waits for it: it is told once a second what has come.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator

from mesh.contract import HEARTBEAT_SECONDS
from mesh.elements.feed_cursor import FeedCursor
from storage_server.catalog.feed import Feed, Place
from storage_server.feed.events import (
    BATCH,
    Beat,
    ChangeBatch,
    FeedEvent,
    SnapshotBegins,
    SnapshotEnds,
)

POLL_SECONDS = 1.0


class History:
    """Serves the audit of one element."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    async def follow(self, cursor: FeedCursor) -> AsyncGenerator[FeedEvent, None]:
        """The changes from `cursor` on, for ever.

        Where some are missing after it, or it is no place of this history, a snapshot of no files
        comes first. Its cursor is the place before the next change that is kept, or before the
        oldest one, whatever the reader has of those.

        Raises:
            Unavailable: PostgreSQL does not answer, or the tables are being made anew.
        """
        while True:
            place = await self._feed.place(cursor.sequence)
            here = cursor if _goes_on(cursor, place) else _beginning(cursor, place)
            async for event in self._tail(here):
                # Told once its first changes are read: the oldest may be trimmed until then, which
                # would be told as one more place where some are missing.
                if cursor is not here:
                    yield SnapshotBegins(here.epoch, here.sequence, "", 0)
                    yield SnapshotEnds(here.epoch, here.sequence, "")
                if isinstance(event, ChangeBatch):
                    last = event.changes[-1]
                    here = FeedCursor(event.epoch, last.sequence, last.change_id)
                cursor = here
                yield event

    async def _tail(self, cursor: FeedCursor) -> AsyncIterator[FeedEvent]:
        """Changes after the cursor; ends when they are not to be had."""
        beaten = 0.0
        while True:
            after = cursor.sequence
            tail = await self._feed.history(after, limit=BATCH)
            if tail.epoch != cursor.epoch or tail.head < after:
                return
            # Up to the first one that is missing.
            changes = [c for n, c in enumerate(tail.changes, start=1) if c.sequence == after + n]
            if tail.head > after and not changes:
                return
            if time.monotonic() - beaten > HEARTBEAT_SECONDS:
                beaten = time.monotonic()
                yield Beat(cursor, tail.head)
            if changes:
                yield ChangeBatch(tail.epoch, changes)
                last = changes[-1]
                cursor = FeedCursor(tail.epoch, last.sequence, last.change_id)
            if len(changes) < BATCH:
                await asyncio.sleep(POLL_SECONDS)


def _is_of(cursor: FeedCursor, place: Place) -> bool:
    """Whether the cursor is of this history: its own change is kept, or it never had one."""
    here = cursor.epoch == place.epoch and cursor.sequence <= place.head
    return here and cursor.change_id == place.change_id


def _goes_on(cursor: FeedCursor, place: Place) -> bool:
    """Whether nothing is missing after the cursor."""
    if place.following is None:
        return _is_of(cursor, place) and cursor.sequence == place.head
    return _is_of(cursor, place) and cursor.sequence == place.following - 1


def _beginning(cursor: FeedCursor, place: Place) -> FeedCursor:
    """Where the history goes on: behind what is missing, else as early as there is any."""
    first = place.following if _is_of(cursor, place) else place.oldest
    return FeedCursor(place.epoch, place.head if first is None else first - 1)
