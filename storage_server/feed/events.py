"""What a follower of the feed is told, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mesh.elements.feed_cursor import FeedCursor
from storage_server.catalog.feed import Change
from storage_server.catalog.rows import FileRow

# Of one message: 500 files as large as a sidecar may be are half of what a message may hold.
BATCH = 500


@dataclass(frozen=True, slots=True)
class SnapshotBegins:
    """Every file follows, as it is now or was at `head` or later."""

    epoch: str
    head: int
    change_id: str
    total: int


@dataclass(frozen=True, slots=True)
class SnapshotEnds:
    """The snapshot is complete; go on from here."""

    epoch: str
    head: int
    change_id: str


@dataclass(frozen=True, slots=True)
class SnapshotFiles:
    """Some files of a snapshot, at most `BATCH`."""

    rows: Sequence[FileRow]


@dataclass(frozen=True, slots=True)
class ChangeBatch:
    """Some changes in order, at most `BATCH`.

    Attributes:
        told: what was made of them for followers, who share it; by what they know.
    """

    epoch: str
    changes: Sequence[Change]
    told: dict[frozenset[int], asyncio.Task[Any]] = field(
        default_factory=dict, init=False, compare=False
    )


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life: what was told so far, and how far the feed is."""

    cursor: FeedCursor
    head: int


FeedEvent = SnapshotBegins | SnapshotEnds | SnapshotFiles | ChangeBatch | Beat
