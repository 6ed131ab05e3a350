"""An element's tables in memory, for tests of what stands on them.

The catalog suite (tests/integration/catalog) holds it to what PostgreSQL does.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import orjson

from mesh.errors import Aborted, Unavailable
from storage_server.catalog.feed import Change, Head
from storage_server.catalog.fences import Fence, in_force
from storage_server.catalog.pending import PendingWrite, that_wrote
from storage_server.catalog.rows import FileRow
from storage_server.catalog.uploads import UploadRow
from storage_server.catalog.writes import MAX_COUNTER, Committed, Guarded
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.origin import OF_REPAIR, Origin
from storage_server.domain.sidecar import FileState, Sidecar, digest
from storage_server.store.port import Identity, StagedState
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
    epoch: str = field(default_factory=lambda: str(uuid.uuid4()))
    sequence: int = 0
    used_bytes: int = 0
    file_count: int = 0
    rebuild_fence: int = 0
    last_fence: int = 0
    pending_ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def row(self, file_id: str) -> FileRow | None:
        """The row with `pending` set if an intent is on record."""
        row = self.files.get(file_id)
        pending = any(one.file_id == file_id for one in self.intents.values())
        return None if row is None else replace(row, pending=pending)

    def require(self, fence: Fence) -> None:
        """Raise Aborted when somebody with a higher fence has taken over."""
        if not in_force(fence, self.rebuild_fence, 0):
            raise preempted()


class MemoryCatalog(Calls):
    """The `FileCatalog` of one process, over tables that another one may share.

    A statement is a call of the name `writes.commit_row` and so on.

    Attributes:
        down: every call raises Unavailable.
    """

    def __init__(self, tables: MemoryTables | None = None) -> None:
        super().__init__()
        self.tables = tables if tables is not None else MemoryTables()
        self.down = False
        self.reads = MemoryReads(self)
        self.writes = MemoryWrites(self)
        self.pending = MemoryPending(self)
        self.uploads = MemoryUploads(self)
        self.feed = MemoryFeed(self)
        self.fences = MemoryFences(self)

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


class MemoryReads:
    """See `storage_server.catalog.reads.Reads`."""

    def __init__(self, catalog: MemoryCatalog) -> None:
        self._catalog = catalog

    async def get(self, file_id: str) -> FileRow | None:
        async with self._catalog.statement("reads.get") as tables:
            return tables.row(file_id)

    async def find_by_request(
        self, created_by: str, request_id: str, *, since: datetime
    ) -> FileRow | None:
        async with self._catalog.statement("reads.find_by_request") as tables:
            found = [
                (sidecar.created_at, sidecar.file_id)
                for sidecar in (row.sidecar for row in tables.files.values())
                if (sidecar.created_by, sidecar.request_id) == (created_by, request_id)
                and sidecar.created_at >= since
            ]
            return tables.row(min(found)[1]) if request_id and found else None


class MemoryWrites:
    """See `storage_server.catalog.writes.Writes`."""

    def __init__(self, catalog: MemoryCatalog) -> None:
        self._catalog = catalog

    async def commit_row(
        self,
        sidecar: Sidecar,
        identity: Identity,
        kind: ChangeKind,
        *,
        now: datetime,
        cache_ttl_hours: int,
        blob_present: bool = True,
        guarded: Guarded | None = None,
    ) -> Committed:
        async with self._catalog.statement("writes.commit_row") as tables:
            old = tables.files.get(sidecar.file_id)
            if guarded is not None:
                tables.require(guarded.fence)
                if (old and old.sequence) != guarded.sequence:
                    raise preempted()
            ended = self._end_intents(tables, sidecar.file_id, direct=guarded is None)
            created = any(one.kind is ChangeKind.CREATED for one in ended)
            self._count(tables, old, sidecar, kind, uploaded=old is None and created)
            tables.sequence += 1
            tables.files[sidecar.file_id] = FileRow(
                sidecar=sidecar,
                identity=identity,
                digest=digest(sidecar),
                sequence=tables.sequence,
                cache_updated_at=now,
                cache_ttl_hours=cache_ttl_hours,
                blob_present=blob_present,
            )
            change_id = str(uuid.uuid4())
            made = that_wrote(ended, sidecar.revision, digest(sidecar))
            tables.feed.append(
                Change(
                    tables.sequence,
                    change_id,
                    kind,
                    sidecar.file_id,
                    datetime.now(UTC),
                    row=None,
                    revision=sidecar.revision,
                    origin=OF_REPAIR if made is None else made.origin,
                )
            )
            return Committed(tables.epoch, tables.sequence, change_id)

    async def renew(
        self,
        file_id: str,
        *,
        guarded: Guarded,
        digest: bytes,
        identity: Identity,
        now: datetime,
        cache_ttl_hours: int,
    ) -> bool:
        async with self._catalog.statement("writes.renew") as tables:
            tables.require(guarded.fence)
            row = tables.files.get(file_id)
            if row is None or (row.sequence, row.digest) != (guarded.sequence, digest):
                return False
            if not _intact(row):
                return False
            tables.files[file_id] = replace(
                row, identity=identity, cache_updated_at=now, cache_ttl_hours=cache_ttl_hours
            )
            return True

    async def blob_removed(self, file_id: str) -> bool:
        async with self._catalog.statement("writes.blob_removed") as tables:
            row = tables.files.get(file_id)
            if row is None or not row.blob_present or row.sidecar.state is not FileState.DELETED:
                return False
            tables.files[file_id] = replace(row, blob_present=False)
            tables.used_bytes = max(0, tables.used_bytes - row.sidecar.size_bytes)
            return True

    def _end_intents(
        self, tables: MemoryTables, file_id: str, *, direct: bool
    ) -> Sequence[PendingWrite]:
        """End those that the write ends, and answer them."""
        ended = [
            one
            for one in tables.intents.values()
            if one.file_id == file_id and (direct or one.kind is ChangeKind.CREATED)
        ]
        for one in ended:
            del tables.intents[one.pending_id]
        return ended

    def _count(
        self,
        tables: MemoryTables,
        old: FileRow | None,
        new: Sidecar,
        kind: ChangeKind,
        *,
        uploaded: bool,
    ) -> None:
        live = new.state is not FileState.DELETED
        if old is not None:
            more_bytes = new.size_bytes - old.sidecar.size_bytes
            more_files = live - (old.sidecar.state is not FileState.DELETED)
        elif uploaded:
            more_bytes, more_files = new.size_bytes, int(live)
        else:
            more_bytes = 0
            more_files = {ChangeKind.DELETED: -1, ChangeKind.UNDELETED: 1}.get(kind, 0)
        tables.used_bytes = min(MAX_COUNTER, max(0, tables.used_bytes + more_bytes))
        tables.file_count = max(0, tables.file_count + more_files)


class MemoryPending:
    """See `storage_server.catalog.pending.Pending`."""

    def __init__(self, catalog: MemoryCatalog) -> None:
        self._catalog = catalog

    async def begin_write(
        self,
        file_id: str,
        path: str,
        kind: ChangeKind,
        request_id: str = "",
        *,
        by: Origin,
        revision: int,
        digest: bytes | None = None,
    ) -> int:
        async with self._catalog.statement("pending.begin_write") as tables:
            number = next(tables.pending_ids)
            tables.intents[number] = PendingWrite(
                number, file_id, path, kind, request_id, datetime.now(UTC), revision, digest, by
            )
            return number

    async def end_pending(self, pending_id: int) -> None:
        async with self._catalog.statement("pending.end_pending") as tables:
            tables.intents.pop(pending_id, None)

    async def pending_ids(self) -> frozenset[str]:
        return frozenset(one.file_id for one in await self.list_pending())

    async def list_pending(self) -> Sequence[PendingWrite]:
        async with self._catalog.statement("pending.list") as tables:
            return list(tables.intents.values())

    async def of_file(self, file_id: str) -> Sequence[PendingWrite]:
        return [one for one in await self.list_pending() if one.file_id == file_id]

    async def of_request(self, request_id: str) -> Sequence[PendingWrite]:
        found = await self.list_pending()
        return [one for one in found if request_id and one.request_id == request_id]


class MemoryUploads:
    """See `storage_server.catalog.uploads.Uploads`."""

    def __init__(self, catalog: MemoryCatalog) -> None:
        self._catalog = catalog

    async def create(self, upload: UploadRow) -> None:
        async with self._catalog.statement("uploads.create") as tables:
            assert upload.upload_id not in tables.uploads
            tables.uploads[upload.upload_id] = upload

    async def get(self, upload_id: str) -> UploadRow | None:
        async with self._catalog.statement("uploads.get") as tables:
            return tables.uploads.get(upload_id)

    async def find_by_request(
        self, created_by: str, request_id: str, *, since: datetime
    ) -> UploadRow | None:
        async with self._catalog.statement("uploads.find_by_request") as tables:
            found = [
                one
                for one in tables.uploads.values()
                if (one.created_by, one.request_id) == (created_by, request_id)
                and (not one.committed or one.touched_at >= since)
            ]
            return max(found, key=_age) if request_id and found else None

    async def record_progress(
        self, upload_id: str, stage: StagedState, *, reserved_bytes: int, now: datetime
    ) -> bool:
        async with self._catalog.statement("uploads.record_progress") as tables:
            found = tables.uploads.get(upload_id)
            if found is None or found.committed:
                return False
            tables.uploads[upload_id] = replace(
                found, stage=stage, reserved_bytes=reserved_bytes, touched_at=now
            )
            return True

    async def replace_token(self, upload_id: str, token_hash: bytes, *, now: datetime) -> bool:
        async with self._catalog.statement("uploads.replace_token") as tables:
            found = tables.uploads.get(upload_id)
            if found is None:
                return False
            tables.uploads[upload_id] = replace(found, token_hash=token_hash, touched_at=now)
            return True

    async def finish(self, upload_id: str, *, now: datetime) -> None:
        async with self._catalog.statement("uploads.finish") as tables:
            if found := tables.uploads.get(upload_id):
                tables.uploads[upload_id] = replace(
                    found, committed=True, reserved_bytes=0, touched_at=now
                )

    async def delete(self, upload_id: str) -> None:
        async with self._catalog.statement("uploads.delete") as tables:
            tables.uploads.pop(upload_id, None)

    async def list_open(self) -> Sequence[UploadRow]:
        async with self._catalog.statement("uploads.list_open") as tables:
            return sorted((one for one in tables.uploads.values() if not one.committed), key=_age)

    async def lapse(self, created_before: datetime, *, sending: Collection[str]) -> Sequence[str]:
        async with self._catalog.statement("uploads.lapse") as tables:
            due = [
                one
                for one in tables.uploads.values()
                if not one.committed
                and not one.stage.committed_size_bytes
                and one.reserved_bytes
                and one.created_at < created_before
                and one.upload_id not in sending
            ]
            for one in due:
                tables.uploads[one.upload_id] = replace(one, reserved_bytes=0)
            return [one.upload_id for one in due]

    async def list_page(
        self,
        *,
        created_by: str,
        namespaces: Collection[str] | None,
        before: tuple[datetime, str] | None,
        limit: int,
    ) -> tuple[Sequence[UploadRow], int]:
        found = [
            one
            for one in await self.list_open()
            if created_by in ("", one.created_by)
            and (namespaces is None or orjson.loads(one.header)["namespace"] in namespaces)
        ]
        page = [one for one in reversed(found) if before is None or _age(one) < before]
        return page[:limit], len(found)

    async def list_idle(self, touched_before: datetime, *, limit: int = 100) -> Sequence[UploadRow]:
        async with self._catalog.statement("uploads.list_idle") as tables:
            idle = [one for one in tables.uploads.values() if one.touched_at < touched_before]
            return sorted(idle, key=lambda one: one.touched_at)[:limit]

    async def reserved_total(self) -> int:
        return sum(one.reserved_bytes for one in await self.list_open())


class MemoryFeed:
    """Reads the feed as `storage_server.catalog.feed.Feed` does."""

    def __init__(self, catalog: MemoryCatalog) -> None:
        self._catalog = catalog

    async def head(self) -> Head:
        async with self._catalog.statement("feed.head") as tables:
            return Head(
                tables.epoch, tables.sequence, tables.used_bytes, tables.file_count, complete=False
            )

    async def read(self, after: int, *, limit: int = 1000) -> Sequence[Change]:
        async with self._catalog.statement("feed.read") as tables:
            entries = [one for one in tables.feed if one.sequence > after][:limit]
            return [replace(one, row=tables.files.get(one.file_id)) for one in entries]

    async def change_id_at(self, sequence: int) -> str | None:
        async with self._catalog.statement("feed.change_id_at") as tables:
            return next((one.change_id for one in tables.feed if one.sequence == sequence), None)


class MemoryFences:
    """See `storage_server.catalog.fences.Fences`."""

    def __init__(self, catalog: MemoryCatalog) -> None:
        self._catalog = catalog

    async def draw(self) -> int:
        async with self._catalog.statement("fences.draw") as tables:
            tables.last_fence += 1
            return tables.last_fence

    async def raise_rebuild(self, fence: int) -> None:
        async with self._catalog.statement("fences.raise_rebuild") as tables:
            if tables.rebuild_fence >= fence:
                raise preempted()
            tables.rebuild_fence = fence


def preempted() -> Aborted:
    return Aborted("somebody with a higher fence, or another write, was there", reason="PREEMPTED")


def _intact(row: FileRow) -> bool:
    return row.digest == digest(row.sidecar)


def _age(upload: UploadRow) -> tuple[datetime, str]:
    return upload.created_at, upload.upload_id
