"""What an element's tables in memory hold, and how they are reached: statement by statement."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from mesh.errors import Aborted, Unavailable
from storage_server.catalog.feed import Change
from storage_server.catalog.fences import Fence, in_force
from storage_server.catalog.pending import PendingWrite
from storage_server.catalog.pulls import PullRow
from storage_server.catalog.rows import FileRow
from storage_server.catalog.uploads import UploadRow
from tests.support.calls import Calls


@dataclass
class MemoryTables:
    """What outlives a process: everything on record, for tests to look at and to change.

    Attributes:
        feed: oldest first; their `row` is looked up when they are read.
        intents: by pending id.
    """

    files: dict[str, FileRow] = field(default_factory=dict)
    feed: list[Change] = field(default_factory=list)
    intents: dict[int, PendingWrite] = field(default_factory=dict)
    uploads: dict[str, UploadRow] = field(default_factory=dict)
    pulls: dict[str, PullRow] = field(default_factory=dict)
    complete: bool = True
    epoch: str = field(default_factory=lambda: str(uuid.uuid4()))
    sequence: int = 0
    used_bytes: int = 0
    file_count: int = 0
    rebuild_fence: int = 0
    cleanup_fence: int = 0
    last_fence: int = 0
    pending_ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def row(self, file_id: str) -> FileRow | None:
        """The row with `pending` set if an intent is on record."""
        row = self.files.get(file_id)
        pending = any(one.file_id == file_id for one in self.intents.values())
        return None if row is None else replace(row, pending=pending)

    def require(self, fence: Fence) -> None:
        """Raise Aborted when somebody with a higher fence has taken over."""
        if not in_force(fence, self.rebuild_fence, self.cleanup_fence):
            raise preempted()


class Statements(Calls):
    """The connection of one process to tables that another one may share.

    A statement is a call of the name `writes.commit_row` and so on.

    Attributes:
        down: every call raises Unavailable.
    """

    def __init__(self, tables: MemoryTables | None = None) -> None:
        super().__init__()
        self.tables = tables if tables is not None else MemoryTables()
        self.down = False

    @property
    def available(self) -> bool:
        return not self.down

    @asynccontextmanager
    async def statement(self, name: str) -> AsyncIterator[MemoryTables]:
        """One statement: done whole when its block ends, or not at all."""
        async with self.around(name):
            if self.down:
                raise Unavailable("the database in memory is not answering")
            yield self.tables


def preempted() -> Aborted:
    return Aborted("somebody with a higher fence, or another write, was there", reason="PREEMPTED")
