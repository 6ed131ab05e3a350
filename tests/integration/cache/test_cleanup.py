"""Cleanup removes a row only when its file is found, and can be read, without it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest

from mesh.errors import Unavailable
from storage_server.domain.sidecar import Sidecar
from storage_server.sidecars.locate import locate
from tests.support.cache_rig import CacheRig, path_of

LONG_AGO = datetime(2025, 1, 2, 3, tzinfo=UTC)


async def _clean(rig: CacheRig, *expired: Sidecar) -> int:
    for sidecar in expired:
        await rig.age_row(sidecar, hours=100)
    return (await rig.process.cache.cleanup()).deleted_count


async def test_a_row_that_alone_leads_to_its_file_stays(rig: CacheRig) -> None:
    found = await rig.upload()
    adopted_id = str(uuid.uuid4())
    adopted = await rig.upload(file_id=adopted_id, created_at=LONG_AGO, updated_at=LONG_AGO)
    moved = await rig.upload(storage_path="2025/01/02/03")
    nameless = await rig.upload(storage_filename="report.pdf")
    assert await _clean(rig, found, adopted, moved, nameless) == 1
    for sidecar in (found, adopted, moved, nameless):
        row = await rig.row(sidecar)
        assert (row is None) == (sidecar is found)
        assert await locate(rig.store, sidecar.file_id, row.path if row else "") is not None


async def test_rows_whose_sidecar_is_gone_or_broken_are_left_to_the_rebuild(rig: CacheRig) -> None:
    gone, broken, good = await rig.upload_many(3)
    rig.backdoor.remove(path_of(gone))
    rig.backdoor.write(path_of(broken), b"{")
    assert await _clean(rig, gone, broken, good) == 1
    assert await rig.row(good) is None
    assert await rig.row(gone) is not None
    assert await rig.row(broken) is not None
    await rig.full()
    (dropped,) = [c for c in await rig.catalog.feed.read(0) if c.kind == "dropped"]
    assert dropped.file_id == gone.file_id


@pytest.mark.parametrize("expired", [True, False])
async def test_without_the_elements_own_store_it_is_unavailable_and_removes_nothing(
    rig: CacheRig, expired: bool
) -> None:
    sidecar = await rig.upload()
    rig.backdoor.remove("element.json")
    with pytest.raises(Unavailable):
        await _clean(rig, *([sidecar] if expired else []))
    assert await rig.row(sidecar) is not None


async def test_rows_that_stay_do_not_keep_it_from_the_ones_behind_them(
    rig: CacheRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage_server.cache.cleanup.BATCH", 2)
    files = await rig.upload_many(5)
    for sidecar in files[:3]:
        rig.backdoor.remove(path_of(sidecar))
    assert await _clean(rig, *files) == 2
    assert len(await rig.rows()) == 3


async def test_a_row_that_was_renewed_meanwhile_stays(
    rig: CacheRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    sidecar = await rig.upload()
    read = rig.store.read_sidecars

    async def renewing(paths: list[str]) -> object:
        found = await read(paths)
        await rig.age_row(sidecar, hours=0)
        return found

    monkeypatch.setattr(rig.store, "read_sidecars", renewing)
    assert await _clean(rig, sidecar) == 0
    assert await rig.row(sidecar) is not None
