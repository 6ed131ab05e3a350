"""An element's cache without its server: real store, PostgreSQL and Valkey, wired as it is."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import google_crc32c

from mesh.concurrency.keyed_locks import KeyedLocks
from mesh.operations import Operations
from mesh.postgres.database import Database
from mesh.redis import open_redis
from storage_server.cache.check import Check
from storage_server.cache.cleanup import Cleanup
from storage_server.cache.operations import CacheOperations
from storage_server.cache.rebuild import Rebuild, RebuildResult
from storage_server.cache.report import Level, Report
from storage_server.cache.restoring import NameRestoring
from storage_server.cache.scrub import Scrub
from storage_server.catalog.catalog import Catalog
from storage_server.catalog.rows import FileRow
from storage_server.catalog.tables import Tables
from storage_server.domain import naming
from storage_server.domain.file_id import new_file_id, time_of
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.modes import Mode
from storage_server.domain.sidecar import Sidecar, decode, encode
from storage_server.domain.sidecar_changes import tombstoned, updated
from storage_server.element import identity
from storage_server.element.writer import FolderWriterLock
from storage_server.locks import ElementLocks
from storage_server.store.port import SIDECAR_SUFFIX, Store
from tests.integration.cache.backdoor import Backdoor

ELEMENT_ID = "se-01"
TTL_HOURS = 24


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Process:
    """What a server process has in memory; a new one is what a restart leaves."""

    locks: ElementLocks
    cache: CacheOperations
    check: Check
    rebuild: Rebuild
    is_writer: bool = True


@dataclass
class CacheRig:
    """One element. `process` is the server's memory; `restart` makes it anew."""

    store: Store
    catalog: Catalog
    redis: Any
    backdoor: Backdoor
    ttl_seconds: float = 15.0
    file_locks: KeyedLocks = field(default_factory=KeyedLocks)
    process: Process = field(init=False)

    def __post_init__(self) -> None:
        self.process = self.new_process()

    # --- the server ----------------------------------------------------------------------

    async def prove(self) -> None:
        await identity.read(self.store, ELEMENT_ID)

    def new_process(self, holder: str = "here:1", *, ttl_seconds: float = 0) -> Process:
        """The parts that work on the cache, wired as the server wires them."""
        catalog = self.catalog
        locks = ElementLocks(
            redis=self.redis,
            fences=catalog.fences,
            element_id=ELEMENT_ID,
            holder=holder,
            ttl_seconds=ttl_seconds or self.ttl_seconds,
        )
        rebuild = Rebuild(
            store=lambda: self.store,
            catalog=catalog,
            proof=self,
            cache_ttl_hours=lambda: TTL_HOURS,
            names=NameRestoring(
                store=lambda: self.store,
                catalog=catalog,
                file_locks=self.file_locks,
                writer=FolderWriterLock(),
            ),
        )
        scrub = Scrub(store=lambda: self.store, catalog=catalog, bytes_per_second=0)
        check = Check(
            store=lambda: self.store,
            catalog=catalog,
            proof=self,
            element_id=ELEMENT_ID,
            scrub=scrub,
        )
        cache = CacheOperations(
            element_id=ELEMENT_ID,
            locks=locks,
            check=check,
            rebuild=rebuild,
            cleanup=Cleanup(lambda: self.store, catalog, self),
            operations=Operations(),
            writer=self,
        )
        return Process(locks, cache, check, rebuild)

    @property
    def is_writer(self) -> bool:
        return True

    async def restart(self) -> None:
        """The server's memory is lost; open writes are replayed as at a start."""
        await self.process.cache.operations.stop()
        self.process = self.new_process()
        self.file_locks = KeyedLocks()
        await self.replay()

    async def replay(self) -> None:
        for intent in await self.catalog.pending.list_pending():
            found = await self.store.read_sidecar(intent.path)
            if found is None:
                if intent.kind is ChangeKind.CREATED:
                    await self.store.delete_blob(intent.path.removesuffix(SIDECAR_SUFFIX))
                await self.catalog.pending.end_pending(intent.pending_id)
            else:
                await self._commit(decode(found[0]), found[1], intent.kind)

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
        async with self.file_locks.hold(sidecar.file_id):
            await self.catalog.pending.begin_write(sidecar.file_id, path, ChangeKind.CREATED)
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
        async with self.file_locks.hold(sidecar.file_id):
            found = await self.store.read_sidecar(path)
            assert found is not None
            changed: Sidecar = change(decode(found[0]))
            await self.catalog.pending.begin_write(sidecar.file_id, path, kind)
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
async def running_rig(
    store: Store, backdoor: Backdoor, database_url: str, redis_url: str
) -> AsyncIterator[CacheRig]:
    """A rig on a store that is empty or another rig's."""
    database, redis = Database(database_url, max_size=12), open_redis(redis_url)
    catalog = Catalog(database, Tables("storage_elem_01_"))
    try:
        await catalog.open()

        async def known() -> bool:
            return False

        await identity.establish(store, element_id=ELEMENT_ID, mode=Mode.EDIT, is_known=known)
        rig = CacheRig(store, catalog, redis, backdoor)
        yield rig
        await rig.process.cache.operations.stop()
    finally:
        await redis.aclose()
        await database.close()
