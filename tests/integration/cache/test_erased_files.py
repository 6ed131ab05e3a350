"""Of two sidecars with one id one that says that the file was erased wins, and the other goes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mesh.elements.request_pins import pin_key
from storage_server.domain import life
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.naming import blob_path, sidecar_path
from storage_server.domain.sidecar import Sidecar, encode
from tests.support.cache_rig import CacheRig

SECRET = b"secret bytes"


async def erased(rig: CacheRig, sidecar: Sidecar) -> Sidecar:
    """As the element leaves it."""
    tombstone = life.erased(sidecar.file_id, sidecar, "admin", "case", datetime.now(UTC))
    path = path_of(tombstone)
    found = await rig.store.write_sidecar(path, encode(tombstone), expected=None)
    await rig.store.erase(sidecar.file_id, [sidecar.storage_path], keep=path)
    await rig.catalog.writes.commit_row(
        tombstone,
        found,
        ChangeKind.ERASED,
        now=datetime.now(UTC),
        cache_ttl_hours=24,
        blob_present=False,
    )
    return tombstone


def path_of(sidecar: Sidecar) -> str:
    return sidecar_path(sidecar.storage_path, sidecar.storage_filename)


def put_back(rig: CacheRig, sidecar: Sidecar, *, alone: bool = False) -> None:
    """As a backup does."""
    rig.backdoor.write(blob_path(sidecar.storage_path, sidecar.storage_filename), SECRET)
    if not alone:
        rig.backdoor.write(path_of(sidecar), encode(sidecar))


async def require_erased(rig: CacheRig, tombstone: Sidecar, other: Sidecar) -> None:
    row = await rig.catalog.reads.get(tombstone.file_id)
    assert row is not None
    assert row.sidecar == tombstone
    named = blob_path(other.storage_path, other.storage_filename)
    assert rig.backdoor.paths() == {path_of(tombstone), named, path_of(other)}
    assert (await rig.check()).findings == 0
    assert (await rig.catalog.feed.head()).file_count == 1


@pytest.mark.parametrize("full", [True, False], ids=["full", "incremental"])
@pytest.mark.parametrize("rows", ["kept", "lost", "old"])
async def test_a_backup_of_an_erased_file_goes_again(
    any_rig: CacheRig, rows: str, full: bool
) -> None:
    rig = any_rig
    other = await rig.upload(b"other")
    sidecar = await rig.upload(SECRET, request_id="request-7")
    before = await rig.catalog.reads.get(sidecar.file_id)
    assert before is not None
    tombstone = await erased(rig, sidecar)
    put_back(rig, sidecar)
    key = pin_key(sidecar.created_by, "request-7")
    await rig.redis.set(key, "se-01 mark")
    if rows == "lost":
        await rig.catalog.database.execute(f"TRUNCATE {rig.catalog.tables.files}")
    if rows == "old":
        await rig.catalog.writes.commit_row(
            sidecar,
            before.identity,
            ChangeKind.UPDATED,
            now=datetime.now(UTC),
            cache_ttl_hours=24,
        )
    await (rig.full() if full else rig.incremental())
    if not full and rows == "old":
        await rig.full()
    await require_erased(rig, tombstone, other)
    assert await rig.redis.get(key) is None


async def test_bytes_of_an_erased_file_go_again_without_their_sidecar(rig: CacheRig) -> None:
    other = await rig.upload(b"other")
    sidecar = await rig.upload(SECRET)
    tombstone = await erased(rig, sidecar)
    put_back(rig, sidecar, alone=True)
    await rig.full(restore_names=True)
    await require_erased(rig, tombstone, other)


async def test_a_copy_of_an_erased_file_in_another_folder_goes_as_well(rig: CacheRig) -> None:
    other = await rig.upload(b"other")
    sidecar = await rig.upload(SECRET)
    tombstone = await erased(rig, sidecar)
    put_back(rig, replace(sidecar, storage_path="2020/01/01/00"))
    result = await rig.full()
    assert result.error_count == 1
    await require_erased(rig, tombstone, other)
