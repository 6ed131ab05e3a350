"""The change feed as followers read it: snapshot, then tail."""

from storage_server.feed.watch import (
    Beat,
    ChangeEvent,
    ChangeWatch,
    FeedCursor,
    FeedEvent,
    SnapshotBegins,
    SnapshotEnds,
)

__all__ = [
    "Beat",
    "ChangeEvent",
    "ChangeWatch",
    "FeedCursor",
    "FeedEvent",
    "SnapshotBegins",
    "SnapshotEnds",
]
