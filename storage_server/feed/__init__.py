"""The change feed as followers read it: snapshot, then tail."""

from storage_server.feed.events import (
    Beat,
    ChangeBatch,
    FeedEvent,
    SnapshotBegins,
    SnapshotEnds,
    SnapshotFiles,
)
from storage_server.feed.history import History
from storage_server.feed.watch import ChangeWatch

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
