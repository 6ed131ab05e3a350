"""The change feed as followers read it: snapshot, then tail."""

from storage_server.feed.history import History
from storage_server.feed.watch import (
    Beat,
    ChangeBatch,
    ChangeWatch,
    FeedEvent,
    SnapshotBegins,
    SnapshotEnds,
    SnapshotFiles,
)

__all__ = [
    "Beat",
    "ChangeBatch",
    "ChangeWatch",
    "FeedEvent",
    "History",
    "SnapshotBegins",
    "SnapshotEnds",
    "SnapshotFiles",
]
