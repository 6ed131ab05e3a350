"""An element's cache without its server: real store, PostgreSQL and Valkey, wired as it is."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import google_crc32c

from mesh.identity.policies import Policies
from storage_server.cache.operations import CacheOperations
from storage_server.cache.report import Level, Report
from storage_server.cache.result import RebuildResult
from storage_server.catalog.catalog import Catalog
from storage_server.catalog.rows import FileRow
from storage_server.domain import naming
from storage_server.domain.file_id import new_file_id, time_of
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.sidecar import Sidecar, decode, digest, encode
from storage_server.domain.sidecar_changes import tombstoned, updated
from storage_server.locks import ElementLocks
from storage_server.settings import StorageSettings
from storage_server.store.port import Store
from storage_server.wiring.adapters import (
    Adapters,
    open_adapters,
    store_opener,
    wire_clock,
    wire_locks,
)
from storage_server.wiring.cache import wire_cache
from storage_server.wiring.files import WiredWriting, wire_writing
from storage_server.wiring.upkeep import wire_opening
from tests.support.backdoor import Backdoor
from tests.support.origins import BY_ALICE

ELEMENT_ID = "se-01"
TTL_HOURS = 24


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Process:
    """What a server process has in memory; a new one is what a restart leaves."""

    locks: ElementLocks
    writing: WiredWriting
    cache: CacheOperations


@dataclass
class CacheRig:
    """One element. `process` is the server's memory; `restart` makes it anew."""

    settings: StorageSettings
    adapters: Adapters
    backdoor: Backdoor
    store: Store = field(init=False)
    redis: Any = field(init=False)
    process: Process = field(init=False)

    def __post_init__(self) -> None:
        self.store, self.redis = self.adapters.element.reading(), self.adapters.redis
        self.process = self.new_process()

    @property
    def catalog(self) -> Catalog:
        return self.adapters.catalog

    # --- the server ----------------------------------------------------------------------

    def new_process(self, holder: str = "here:1", *, ttl_seconds: float = 15.0) -> Process:
        """The parts that work on the cache, as the server wires them."""
        settings = self.settings.model_copy(update={"lock_seconds": ttl_seconds})
        locks = wire_locks(settings, self.redis, self.catalog.fences, holder=holder)
        adapters = replace(self.adapters, redis=self.redis, locks=locks)
        writing = wire_writing(settings, adapters)
        return Process(locks, writing, wire_cache(settings, adapters, writing).operations)

    async def restart(self) -> None:
        """The server's memory is lost; open writes are replayed as at a start."""
        await self.process.cache.operations.stop()
        self.process = self.new_process()
        await self.process.writing.replay.all()

    # --- CacheService --------------------------------------------------------------------

    async def check(self, level: Level = Level.FULL) -> Report:
        return await self.process.cache.check(level)

    async def full(self, **options: Any) -> RebuildResult:
        return await self.process.cache.rebuild(full=True, **options)

    async def incremental(self) -> RebuildResult:
        return await self.process.cache.rebuild(full=False)

    # --- writes, as StorageService does them -----------------------------------------------

    async def upload(self, content: bytes = b"hello", **fields: Any) -> Sidecar:
        """Intent, blob, sidecar, row."""
        sidecar = a_sidecar(content, **fields)
        path = path_of(sidecar)
        async with self.process.writing.file_locks.hold(sidecar.file_id):
            await self.catalog.pending.begin_write(
                sidecar.file_id, path, ChangeKind.CREATED, by=BY_ALICE, revision=1
            )
            await self.place_blob(sidecar, content)
            found = await self.store.write_sidecar(path, encode(sidecar), expected=None)
            await self._commit(sidecar, found, ChangeKind.CREATED)
        return sidecar

    async def upload_many(self, count: int, **fields: Any) -> list[Sidecar]:
        return [await self.upload(**fields) for _ in range(count)]

    async def place_blob(self, sidecar: Sidecar, content: bytes) -> None:
        path = naming.blob_path(sidecar.storage_path, sidecar.storage_filename)
        stage = await self.store.open_stage(path, key=f"up-{sidecar.file_id}")
        await stage.write(content)
        await stage.seal()
        await stage.place()
        await stage.close()

    async def update(self, sidecar: Sidecar, **changes: Any) -> Sidecar:
        """A change of the file as its sidecar now is."""
        return await self._change(
            sidecar, ChangeKind.UPDATED, lambda now: updated(now, changes, utc_now())
        )

    async def delete(self, sidecar: Sidecar) -> Sidecar:
        return await self._change(
            sidecar, ChangeKind.DELETED, lambda now: tombstoned(now, utc_now())
        )

    async def _change(self, sidecar: Sidecar, kind: ChangeKind, change: Any) -> Sidecar:
        path = path_of(sidecar)
        async with self.process.writing.file_locks.hold(sidecar.file_id):
            found = await self.store.read_sidecar(path)
            assert found is not None
            changed: Sidecar = change(decode(found[0]))
            await self.catalog.pending.begin_write(
                sidecar.file_id,
                path,
                kind,
                by=BY_ALICE,
                revision=changed.revision,
                digest=digest(changed),
            )
            written = await self.store.write_sidecar(path, encode(changed), expected=found[1])
            await self._commit(changed, written, kind)
        return changed

    async def put_back(self, sidecar: Sidecar) -> None:
        """What a lazy refresh does for a file without a row."""
        found = await self.store.stat_sidecar(path_of(sidecar))
        await self._commit(sidecar, found, ChangeKind.CREATED)

    async def _commit(self, sidecar: Sidecar, found: Any, kind: ChangeKind) -> None:
        await self.catalog.writes.commit_row(
            sidecar, found, kind, now=utc_now(), cache_ttl_hours=TTL_HOURS
        )

    # --- looking -------------------------------------------------------------------------

    async def row(self, sidecar: Sidecar | str) -> FileRow | None:
        file_id = sidecar if isinstance(sidecar, str) else sidecar.file_id
        return await self.catalog.reads.get(file_id)

    async def rows(self) -> dict[str, FileRow]:
        return {
            row.sidecar.file_id: row
            async for batch in self.catalog.feed.rows_in_batches()
            for row in batch
        }

    async def truth(self) -> dict[str, Sidecar]:
        """Sidecars of the store by id, all of which must be valid."""
        found = {}
        async for folder in self.store.scan():
            for content in await self.store.read_sidecars([one.path for one in folder.sidecars]):
                assert content is not None
                sidecar = decode(content[0])
                found[sidecar.file_id] = sidecar
        return found

    async def rows_equal_sidecars(self) -> bool:
        rows = {file_id: row.sidecar for file_id, row in (await self.rows()).items()}
        return rows == await self.truth()

    # --- damage --------------------------------------------------------------------------

    async def sql(self, statement: str, *arguments: object) -> None:
        """Run SQL past the service; `{files}` is the files table."""
        await self.catalog.database.execute(
            statement.format(files=self.catalog.tables.files), *arguments
        )

    async def lose_row(self, sidecar: Sidecar) -> None:
        await self.sql("DELETE FROM {files} WHERE file_id = $1", sidecar.file_id)

    async def age_row(self, sidecar: Sidecar, hours: float) -> None:
        await self.sql(
            "UPDATE {files} SET cache_updated_at = $2 WHERE file_id = $1",
            sidecar.file_id,
            utc_now() - timedelta(hours=hours),
        )

    def edit(self, sidecar: Sidecar, **fields: Any) -> Sidecar:
        """Write a sidecar by hand."""
        edited = replace(sidecar, **fields)
        self.backdoor.write(path_of(edited), encode(edited))
        return edited


def a_sidecar(content: bytes = b"hello", *, at: datetime | None = None, **fields: Any) -> Sidecar:
    file_id = fields.pop("file_id", None) or new_file_id(at or utc_now())
    created_at = fields.get("created_at") or time_of(file_id)
    name = fields.pop("original_filename", "report.pdf")
    values: dict[str, Any] = {
        "file_id": file_id,
        "original_filename": name,
        "storage_filename": naming.storage_filename(name, "alice", created_at, file_id),
        "storage_path": naming.folder_of(created_at),
        "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "crc32c": google_crc32c.value(content),
        "created_at": created_at,
        "created_by": "alice",
        "updated_at": created_at,
        "tags": ("quarterly", "отчёт"),
        "attributes": {"project": "apollo"},
        "retention_days": 30,
        "expires_at": created_at + timedelta(days=30),
    }
    return Sidecar(**{**values, **fields})


def path_of(sidecar: Sidecar) -> str:
    return naming.sidecar_path(sidecar.storage_path, sidecar.storage_filename)


@asynccontextmanager
async def running_rig(backdoor: Backdoor, **values: Any) -> AsyncIterator[CacheRig]:
    """A rig on the store that `values`, the element's settings, name."""
    settings = StorageSettings(element_id=ELEMENT_ID, scrub_bytes_per_second=0, **values)
    async with open_adapters(settings, wire_clock(settings, time.time), Policies()) as adapters:
        opening = wire_opening(
            settings,
            adapters,
            open_store=store_opener(settings),
            on_writing=_nothing,
            on_lost=_nothing,
        )
        await opening.advance()
        try:
            rig = CacheRig(settings, adapters, backdoor)
            yield rig
            await rig.process.cache.operations.stop()
        finally:
            await opening.close()


async def _nothing() -> None:
    """There are no uploads to take over or to let go of."""
