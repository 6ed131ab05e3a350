"""An element's tables in memory, for tests of what stands on them.

The catalog suite (tests/integration/catalog) holds it to what PostgreSQL does.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from storage_server.catalog.feed import Change, Head
from storage_server.catalog.pending import NOTHING_COUNTED, Counted, PendingWrite, that_wrote
from storage_server.catalog.rows import FileRow, has_blob
from storage_server.catalog.writes import MAX_COUNTER, Committed, Guarded
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.origin import OF_REPAIR, Origin
from storage_server.domain.sidecar import FileState, Sidecar, digest
from storage_server.store.port import Identity
from tests.support.memory_tables import MemoryTables, Statements, preempted
from tests.support.memory_uploads import MemoryPulls, MemoryUploads


class MemoryCatalog(Statements):
    """The `FileCatalog` of one process."""

    def __init__(self, tables: MemoryTables | None = None) -> None:
        super().__init__(tables)
        self.reads = MemoryReads(self)
        self.writes = MemoryWrites(self)
        self.pending = MemoryPending(self)
        self.uploads = MemoryUploads(self)
        self.pulls = MemoryPulls(self)
        self.feed = MemoryFeed(self)
        self.fences = MemoryFences(self)


class MemoryReads:
    """See `storage_server.catalog.reads.Reads`."""

    def __init__(self, catalog: Statements) -> None:
        self._catalog = catalog

    async def get(self, file_id: str) -> FileRow | None:
        async with self._catalog.statement("reads.get") as tables:
            return tables.row(file_id)

    async def is_complete(self) -> bool:
        async with self._catalog.statement("reads.is_complete") as tables:
            return tables.complete

    async def get_many(self, file_ids: Sequence[str]) -> dict[str, FileRow]:
        async with self._catalog.statement("reads.get_many") as tables:
            rows = {one: tables.row(one) for one in file_ids}
        return {one: row for one, row in rows.items() if row is not None}

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

    def __init__(self, catalog: Statements) -> None:
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
            before = _counted_before(old, ended)
            if before is not None:
                has_bytes = has_blob(sidecar, blob_present=blob_present)
                self._count(tables, before, _counted(sidecar, has_bytes=has_bytes))
            tables.sequence += 1
            tables.files[sidecar.file_id] = FileRow(
                sidecar=sidecar,
                identity=identity,
                digest=digest(sidecar),
                sequence=tables.sequence,
                cache_updated_at=now,
                cache_ttl_hours=cache_ttl_hours,
                blob_present=has_blob(sidecar, blob_present=blob_present),
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

    async def purge(self, file_id: str) -> Committed | None:
        async with self._catalog.statement("writes.purge") as tables:
            purges = [
                one
                for one in tables.intents.values()
                if one.file_id == file_id and one.kind is ChangeKind.PURGED
            ]
            if not purges:
                return None
            ended = self._end_intents(tables, file_id, direct=True)
            before = _counted_before(tables.files.pop(file_id, None), ended)
            self._count(tables, before or NOTHING_COUNTED, NOTHING_COUNTED)
            tables.sequence += 1
            change_id = str(uuid.uuid4())
            tables.feed.append(
                Change(
                    tables.sequence,
                    change_id,
                    ChangeKind.PURGED,
                    file_id,
                    datetime.now(UTC),
                    row=None,
                    revision=purges[-1].revision,
                    origin=purges[-1].origin,
                )
            )
            return Committed(tables.epoch, tables.sequence, change_id)

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

    def _count(self, tables: MemoryTables, before: Counted, after: Counted) -> None:
        used_bytes = tables.used_bytes + after.size_bytes - before.size_bytes
        tables.used_bytes = min(MAX_COUNTER, max(0, used_bytes))
        tables.file_count = max(0, tables.file_count + after.homes - before.homes)


class MemoryPending:
    """See `storage_server.catalog.pending.Pending`."""

    def __init__(self, catalog: Statements) -> None:
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
        counted: Counted = NOTHING_COUNTED,
    ) -> int:
        async with self._catalog.statement("pending.begin_write") as tables:
            number = next(tables.pending_ids)
            tables.intents[number] = PendingWrite(
                number,
                file_id,
                path,
                kind,
                request_id,
                datetime.now(UTC),
                revision,
                digest,
                by,
                counted,
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


class MemoryFeed:
    """Reads the feed as `storage_server.catalog.feed.Feed` does."""

    def __init__(self, catalog: Statements) -> None:
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

    def __init__(self, catalog: Statements) -> None:
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

    async def raise_cleanup(self, fence: int) -> None:
        async with self._catalog.statement("fences.raise_cleanup") as tables:
            if max(tables.rebuild_fence, tables.cleanup_fence) >= fence:
                raise preempted()
            tables.cleanup_fence = fence


def _counted(sidecar: Sidecar, *, has_bytes: bool) -> Counted:
    home = sidecar.state is FileState.ACTIVE
    return Counted(int(home), sidecar.size_bytes if has_bytes else 0)


def _counted_before(row: FileRow | None, ended: Sequence[PendingWrite]) -> Counted | None:
    """By the row, else by the oldest intent; None when neither says it."""
    if row is not None:
        return _counted(row.sidecar, has_bytes=row.blob_present)
    told = [
        one.counted or NOTHING_COUNTED
        for one in ended
        if one.counted is not None or one.kind is ChangeKind.CREATED
    ]
    return told[0] if told else None


def _intact(row: FileRow) -> bool:
    return row.digest == digest(row.sidecar)
