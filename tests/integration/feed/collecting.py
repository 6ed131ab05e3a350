"""A mesh of two elements whose files are laid down by hand, and collections of it."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from artstore.v1 import lifecycle_pb2 as pb
from artstore.v1 import lifecycle_pb2_grpc
from storage_server.domain.file_id import new_file_id, time_of
from storage_server.domain.naming import folder_of, storage_filename
from storage_server.domain.sidecar import FileState, RetentionPolicy, Sidecar, encode
from storage_server.store.port import SIDECAR_SUFFIX
from tests.integration.feed.by_hand import repair
from tests.integration.feed.small_mesh import SmallMesh, fetch
from tests.support.cache_rig import a_sidecar, path_of
from tests.support.running_admin import grown_old

ELEMENTS = ("se-01", "se-02")
DATA = b"hello"
DAY = timedelta(days=1)
NO_BYTES = frozenset({FileState.GONE, FileState.ERASED})


def now() -> datetime:
    return datetime.now(UTC)


class Collecting:
    """Lays files down, and collects."""

    def __init__(self, mesh: SmallMesh) -> None:
        self.mesh = mesh
        self.lifecycle: Any = lifecycle_pb2_grpc.LifecycleServiceStub(mesh.admin.channel)

    async def lay(self, *files: tuple[str, Sidecar], with_bytes: bool = True) -> None:
        """Put sidecars, and the bytes of those that have any, into the stores."""
        for element_id, sidecar in files:
            path = self.mesh.rigs[element_id].root / path_of(sidecar)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(sidecar))
            blob = path.with_name(path.name.removesuffix(SIDECAR_SUFFIX))
            if with_bytes and sidecar.state not in NO_BYTES:
                blob.write_bytes(DATA)
        for node in self.mesh.elements.values():
            await repair(node)
        if not with_bytes:
            await self._as_trash_left_it(*files)
        await self.mesh.caught_up()

    async def _as_trash_left_it(self, *files: tuple[str, Sidecar]) -> None:
        for element_id, sidecar in files:
            await fetch(
                self.mesh.database_url,
                f"UPDATE {self.mesh.tables(element_id).files} SET blob_present = false"
                " WHERE file_id = $1 AND state = 'deleted'",
                sidecar.file_id,
            )

    async def settle_in(self) -> None:
        """Let admin's tables be older than any step that may have been sent before them."""
        await grown_old(self.mesh.database_url)

    def orphan(self, element_id: str, age: timedelta) -> Path:
        """A blob that no sidecar stands for."""
        file_id = new_file_id(now() - age)
        at = time_of(file_id)
        name = storage_filename("lost.txt", "alice", at, file_id)
        path = self.mesh.rigs[element_id].root / folder_of(at) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(DATA)
        os.utime(path, (time.time() - age.total_seconds(),) * 2)
        return path

    async def run(self, *, dry_run: bool = False, **fields: Any) -> pb.Collection:
        """RunCollection, as an ADMIN."""
        answer = await self.lifecycle.RunCollection(
            pb.RunCollectionRequest(dry_run=dry_run, **fields),
            metadata=self.mesh.bearer(),
            timeout=60,
        )
        found: pb.Collection = answer.collection
        return found

    async def list(self) -> list[pb.Collection]:
        """ListCollections."""
        answer = await self.lifecycle.ListCollections(
            pb.ListCollectionsRequest(), metadata=self.mesh.bearer(), timeout=10
        )
        return list(answer.collections)

    def stored(self, element_id: str) -> dict[str, tuple[bool, bool]]:
        """File id -> (whether there is a sidecar, whether there are bytes)."""
        found: dict[str, tuple[bool, bool]] = {}
        for path in self.mesh.rigs[element_id].root.glob("[0-9]*/*/*/*/*"):
            name = path.name.removesuffix(SIDECAR_SUFFIX)
            file_id = Path(name).stem.rpartition("_")[2]
            sidecar, blob = found.get(file_id, (False, False))
            is_sidecar = path.name.endswith(SIDECAR_SUFFIX)
            found[file_id] = (sidecar or is_sidecar, blob or not is_sidecar)
        return found


def outcome(run: pb.Collection) -> dict[str, Any]:
    """What two runs that do the same say alike."""
    return {
        "examined": run.examined_count,
        "collected": run.collected_count,
        "freed": run.freed_size_bytes,
        "errors": list(run.errors),
        "counts": [
            (count.reason, count.count, count.size_bytes, list(count.examples))
            for count in run.counts
        ],
    }


def counts(run: pb.Collection) -> dict[str, int]:
    """Reason -> files."""
    return {
        pb.CollectionReason.Name(count.reason).removeprefix("COLLECTION_REASON_"): count.count
        for count in run.counts
    }


def a_file(*, state: FileState = FileState.ACTIVE, **fields: Any) -> Sidecar:
    """A permanent one, unless it is said when it expires."""
    expires_at = fields.pop("expires_at", None)
    temporary = expires_at is not None
    return a_sidecar(
        state=state,
        size_bytes=len(DATA),
        retention_policy=RetentionPolicy.TEMPORARY if temporary else RetentionPolicy.PERMANENT,
        retention_days=30 if temporary else None,
        expires_at=expires_at,
        **fields,
    )


@asynccontextmanager
async def collecting_mesh(
    folder: Path,
    database_url: str,
    redis_url: str,
    *,
    modes: Mapping[str, str] | None = None,
    **admin: Any,
) -> AsyncIterator[Collecting]:
    """Nothing is collected by itself unless `admin` says otherwise.

    Args:
        modes: of elements that are in another mode than edit.
    """
    mesh = SmallMesh(folder, database_url, redis_url)
    mesh.settings = {"trash_days": 1000.0}
    try:
        young = {"first_home_step_seconds": 2.6, "decisions_live_seconds": 2.6}
        await mesh.start_admin(**young, **{"collection_seconds": 0.0, **admin})
        for element_id in ELEMENTS:
            await mesh.start_element(element_id, mode=(modes or {}).get(element_id, "edit"))
        await mesh.caught_up()
        yield Collecting(mesh)
    finally:
        await mesh.stop_all()
