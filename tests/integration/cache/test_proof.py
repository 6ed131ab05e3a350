"""Absence must be proved: what is not shown to be gone is not removed."""

from __future__ import annotations

import errno
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mesh.errors import FailedPrecondition, Unavailable
from storage_server.cache.report import Finding, Level
from storage_server.domain.modes import Mode
from storage_server.element import identity
from storage_server.element.identity import ElementFile
from tests.support.backdoor import LocalBackdoor
from tests.support.cache_rig import ELEMENT_ID, CacheRig, path_of


async def refuses_everything(rig: CacheRig) -> None:
    before = await rig.rows()
    for level in Level:
        with pytest.raises(Unavailable):
            await rig.check(level)
    for full in (True, False):
        with pytest.raises(Unavailable):
            await rig.process.cache.rebuild(full=full)
    assert await rig.rows() == before


async def test_a_missing_element_file_removes_nothing_and_says_so(rig: CacheRig) -> None:
    await rig.upload_many(2)
    content = rig.backdoor.read("element.json")
    rig.backdoor.remove("element.json")
    await refuses_everything(rig)
    await rig.restart()
    await refuses_everything(rig)
    rig.backdoor.write("element.json", content)
    assert (await rig.check()).is_consistent


async def test_a_foreign_or_unreadable_element_file_removes_nothing(rig: CacheRig) -> None:
    await rig.upload_many(2)
    foreign = identity.encode(ElementFile("se-02", "another", Mode.EDIT))
    for content in (foreign, b"", b"{}", b"\xff"):
        rig.backdoor.write("element.json", content)
        await refuses_everything(rig)


async def test_a_store_emptied_with_its_element_file_removes_nothing(rig: CacheRig) -> None:
    await rig.upload_many(2)
    rig.backdoor.remove_all()
    await refuses_everything(rig)
    await rig.restart()
    await refuses_everything(rig)


async def test_an_unmounted_folder_removes_nothing(rig: CacheRig) -> None:
    await rig.upload_many(2)
    assert isinstance(rig.backdoor, LocalBackdoor)
    root = rig.backdoor.root
    root.rename(root.with_name("elsewhere"))
    await refuses_everything(rig)
    root.mkdir()
    await refuses_everything(rig)
    root.rmdir()
    root.with_name("elsewhere").rename(root)
    assert (await rig.check()).is_consistent


@pytest.fixture
def half_a_listing(any_rig: CacheRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The listing shows the first folder and fails at the second."""
    scan = any_rig.store.scan

    async def failing(**options: Any) -> AsyncIterator[Any]:
        listed = 0
        async for folder in scan(**options):
            if listed:
                raise Unavailable("the storage does not work", reason="STORAGE_DOWN")
            listed += 1
            yield folder

    monkeypatch.setattr(any_rig.store, "scan", failing)


async def test_a_listing_that_fails_half_way_removes_nothing(
    any_rig: CacheRig, half_a_listing: None
) -> None:
    rig = any_rig
    first = await rig.upload(storage_path="2020/01/01/01")
    second = await rig.upload(storage_path="2020/01/01/02")
    rig.backdoor.remove(path_of(first))
    rig.backdoor.remove(path_of(second))
    await refuses_everything(rig)


async def test_a_folder_that_cannot_be_read_removes_nothing(
    rig: CacheRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root every folder can be read, so the system call is made to fail."""
    sidecar = await rig.upload()
    from storage_server.store import listing

    def failing(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(listing, "_entries", failing)
    await refuses_everything(rig)
    monkeypatch.undo()
    assert (await rig.check()).is_consistent
    assert await rig.row(sidecar) is not None


async def test_a_store_that_goes_away_during_the_walk_removes_nothing(
    rig: CacheRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listing was complete and empty, and it was not the element's store any more."""
    await rig.upload_many(3)
    assert isinstance(rig.backdoor, LocalBackdoor)
    root, scan = rig.backdoor.root, rig.store.scan

    async def unmounting(**options: Any) -> AsyncIterator[Any]:
        shutil.rmtree(root)
        root.mkdir()
        async for folder in scan(**options):
            yield folder

    monkeypatch.setattr(rig.store, "scan", unmounting)
    before = await rig.rows()
    with pytest.raises(Unavailable):
        await rig.full()
    with pytest.raises(Unavailable):
        await rig.check()
    assert await rig.rows() == before


async def test_max_delete_ratio_guards_more_than_100_rows(rig: CacheRig) -> None:
    await rig.sql(
        "INSERT INTO {files} (file_id, original_filename, storage_filename, storage_path,"
        " size_bytes) SELECT 'lost' || n, 'a', 'a' || n, '2020/01/02/03', 1"
        " FROM generate_series(1, 101) n"
    )
    kept = await rig.upload()
    await rig.lose_row(await rig.upload())
    for ratio in (None, 0.5, 0.0):
        with pytest.raises(FailedPrecondition) as refused:
            await rig.full(max_delete_ratio=ratio)
        assert refused.value.reason == "MAX_DELETE_RATIO"
        assert "101 of 10" in refused.value.message
    # All else was done.
    assert len(await rig.rows()) == 103
    report = await rig.check()
    assert report.count(Finding.ORPHAN_CACHE) == 101
    assert report.count(Finding.ORPHAN_ATTR) == 0
    result = await rig.full(max_delete_ratio=1.0)
    assert result.entries_deleted == 101
    assert len(await rig.rows()) == 2
    assert await rig.row(kept) is not None


async def test_rows_of_tombstones_are_no_more_than_all_that_may_go(rig: CacheRig) -> None:
    await rig.sql(
        "INSERT INTO {files} (file_id, original_filename, storage_filename, storage_path,"
        " size_bytes, state) SELECT 'lost' || n, 'a', 'a' || n, '2020/01/02/03', 1,"
        " CASE WHEN n > 101 THEN 'deleted' ELSE 'active' END FROM generate_series(1, 150) n"
    )
    assert (await rig.full(max_delete_ratio=1.0)).entries_deleted == 101
    assert await rig.rows() == {}


async def test_100_rows_go_whatever_the_ratio(rig: CacheRig) -> None:
    await rig.sql(
        "INSERT INTO {files} (file_id, original_filename, storage_filename, storage_path,"
        " size_bytes) SELECT 'lost' || n, 'a', 'a' || n, '2020/01/02/03', 1"
        " FROM generate_series(1, 100) n"
    )
    assert (await rig.full(max_delete_ratio=0.0)).entries_deleted == 100


async def test_the_element_file_of_a_known_element_is_not_made_anew(rig: CacheRig) -> None:
    await rig.upload()
    rig.backdoor.remove_all()

    async def known() -> bool:
        return True

    with pytest.raises(Unavailable):
        await identity.establish(rig.store, element_id=ELEMENT_ID, mode=Mode.EDIT, is_known=known)
    await refuses_everything(rig)
