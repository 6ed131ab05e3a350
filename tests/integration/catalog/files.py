"""Files as uploads make them, for tests of the catalog."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from storage_server.catalog.binary_rows import encoded
from storage_server.catalog.catalog import Catalog
from storage_server.catalog.fences import Fence, Guard
from storage_server.catalog.merge import Merged
from storage_server.catalog.rows import to_values
from storage_server.catalog.writes import Committed, Guarded
from storage_server.domain import naming
from storage_server.domain.file_id import new_file_id, time_of
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.sidecar import Sidecar, digest
from storage_server.store.port import Identity
from tests.support.memory_catalog import MemoryCatalog
from tests.support.origins import BY_ALICE

AnyCatalog = Catalog | MemoryCatalog

TTL_HOURS = 24


def now() -> datetime:
    return datetime.now(UTC)


def a_sidecar(*, at: datetime | None = None, **fields: Any) -> Sidecar:
    file_id = new_file_id(at or now())
    created_at = time_of(file_id)
    name = fields.pop("original_filename", "report.pdf")
    values: dict[str, Any] = {
        "file_id": file_id,
        "original_filename": name,
        "storage_filename": naming.storage_filename(name, "alice", created_at, file_id),
        "storage_path": naming.folder_of(created_at),
        "size_bytes": 100,
        "sha256": "ab" * 32,
        "crc32c": 7,
        "created_at": created_at,
        "created_by": "alice",
        "updated_at": created_at,
        "tags": ("quarterly", "отчёт"),
        "attributes": {"project": "apollo"},
        "retention_days": 30,
    }
    return Sidecar(**{**values, **fields})


def an_identity(number: int = 1) -> Identity:
    return Identity(size=900, mtime_ns=1_700_000_000_000_000_000 + number, inode=number)


async def upload(
    catalog: AnyCatalog, sidecar: Sidecar, identity: Identity | None = None
) -> Committed:
    """As an upload does: intent, then row and feed."""
    path = naming.sidecar_path(sidecar.storage_path, sidecar.storage_filename)
    await catalog.pending.begin_write(
        sidecar.file_id, path, ChangeKind.CREATED, by=BY_ALICE, revision=1
    )
    return await commit(catalog, sidecar, ChangeKind.CREATED, identity)


async def commit(
    catalog: AnyCatalog,
    sidecar: Sidecar,
    kind: ChangeKind,
    identity: Identity | None = None,
    guarded: Guarded | None = None,
) -> Committed:
    return await catalog.writes.commit_row(
        sidecar,
        identity or an_identity(),
        kind,
        now=now(),
        cache_ttl_hours=TTL_HOURS,
        guarded=guarded,
    )


def found(
    sidecar: Sidecar, number: int = 1, *, at: datetime | None = None, hours: int = TTL_HOURS
) -> bytes:
    """What a repair has found of a sidecar, just now."""
    return encoded(
        to_values(sidecar, an_identity(number), cache_updated_at=at or now(), cache_ttl_hours=hours)
    )


async def rebuild_fence(catalog: Catalog) -> Fence:
    """As a repair begins."""
    fence = Fence(Guard.REBUILD, await catalog.fences.draw())
    await catalog.fences.raise_rebuild(fence.number)
    return fence


async def merge(
    catalog: Catalog,
    *sidecars: Sidecar,
    s0: int | None = None,
    fence: Fence | None = None,
) -> Merged:
    """What a repair does that has found these."""
    return await catalog.merge.merge(
        [found(sidecar) for sidecar in sidecars],
        s0=(await catalog.feed.head()).sequence if s0 is None else s0,
        fence=fence or await rebuild_fence(catalog),
    )


async def lazy(catalog: AnyCatalog, sequence: int | None) -> Guarded:
    """As a refresh begins that meets a row of this sequence."""
    return Guarded(Fence(Guard.LAZY, await catalog.fences.draw()), sequence)


async def renew(
    catalog: AnyCatalog, sidecar: Sidecar, guarded: Guarded, number: int = 1, hours: int = 24
) -> bool:
    return await catalog.writes.renew(
        sidecar.file_id,
        guarded=guarded,
        digest=digest(sidecar),
        identity=an_identity(number),
        now=now(),
        cache_ttl_hours=hours,
    )
