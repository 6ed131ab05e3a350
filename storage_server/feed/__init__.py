"""The change feed as followers read it: snapshot, then tail."""

from storage_server.feed.watch import (
    Beat,
    Changes,
    ChangeWatch,
    FeedEvent,
    SnapshotBegins,
    SnapshotEnds,
    SnapshotFiles,
)

__all__ = [
    "Beat",
    "ChangeWatch",
    "Changes",
    "FeedEvent",
    "SnapshotBegins",
    "SnapshotEnds",
    "SnapshotFiles",
]
