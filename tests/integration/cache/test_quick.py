"""QUICK: skips what has not moved, and is not fooled by what goes on in the database."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import pytest

from storage_server.cache.report import Finding, Level
from tests.support.backdoor import LocalBackdoor
from tests.support.cache_rig import CacheRig, path_of


class Scans:
    """Which folders were skipped by the last scan."""

    def __init__(self, rig: CacheRig, monkeypatch: pytest.MonkeyPatch) -> None:
        self.skipped: list[str] = []
        self.listed: list[str] = []
        scan = rig.store.scan

        async def watched(**options: Any) -> Any:
            self.skipped, self.listed = [], []
            async for folder in scan(**options):
                (self.skipped if folder.unchanged else self.listed).append(folder.path)
                yield folder

        monkeypatch.setattr(rig.store, "scan", watched)


@pytest.fixture
def scans(rig: CacheRig, monkeypatch: pytest.MonkeyPatch) -> Scans:
    return Scans(rig, monkeypatch)


HOURS = ["2020/01/01/01", "2020/01/01/02"]


async def verified(rig: CacheRig) -> list[Any]:
    """Two folders with two files each, checked when their times can be trusted."""
    made = [await rig.upload(storage_path=hour) for hour in HOURS for _ in range(2)]
    await asyncio.sleep(0.06)
    assert (await rig.check()).is_consistent
    return made


async def test_folders_that_have_not_moved_are_skipped(rig: CacheRig, scans: Scans) -> None:
    made = await verified(rig)
    report = await rig.check(Level.QUICK)
    assert scans.skipped == HOURS
    assert (report.total_attr_files, report.total_cache_entries) == (4, 4)
    assert report.is_consistent
    rig.edit(made[0], description="by hand")
    report = await rig.check(Level.QUICK)
    assert (scans.skipped, scans.listed) == (HOURS[1:], HOURS[:1])
    assert report.details(Finding.STALE) == [made[0].file_id]
    assert (report.total_attr_files, report.total_cache_entries) == (4, 4)
    assert report.inconsistency_percentage == 25


async def test_a_rebuild_verifies_folders_as_well(rig: CacheRig, scans: Scans) -> None:
    await verified(rig)
    await rig.restart()
    await rig.check(Level.QUICK)
    assert scans.skipped == []
    await rig.restart()
    await rig.full()
    await rig.check(Level.QUICK)
    assert scans.skipped == HOURS


async def test_rows_that_came_or_went_behind_its_back_are_noticed(
    rig: CacheRig, scans: Scans
) -> None:
    made = await verified(rig)
    await rig.lose_row(made[0])
    report = await rig.check(Level.QUICK)
    assert report.details(Finding.ORPHAN_ATTR) == [path_of(made[0])]
    assert scans.skipped == HOURS[1:]
    assert report.inconsistency_percentage == 25
    await rig.incremental()
    assert (await rig.check(Level.QUICK)).is_consistent
    await rig.sql(
        "INSERT INTO {files} (file_id, original_filename, storage_filename, storage_path,"
        " size_bytes, sequence) VALUES ('a', 'a', 'a', '2020/01/01/01', 1, 1)"
    )
    await rig.lose_row(made[0])
    report = await rig.check(Level.QUICK)
    assert report.count(Finding.ORPHAN_CACHE) == 1
    assert report.count(Finding.ORPHAN_ATTR) == 1
    await rig.sql("TRUNCATE {files}")
    assert (await rig.check(Level.QUICK)).count(Finding.ORPHAN_ATTR) == 4


async def test_a_write_of_the_service_is_noticed_and_agrees(rig: CacheRig, scans: Scans) -> None:
    made = await verified(rig)
    await rig.update(made[3], version="2")
    await rig.upload(storage_path=HOURS[0])
    report = await rig.check(Level.QUICK)
    assert scans.listed == HOURS
    assert (report.total_attr_files, report.is_consistent) == (5, True)


async def test_what_is_wrong_stays_wrong(rig: CacheRig, scans: Scans) -> None:
    """A folder in which something was found is never skipped."""
    made = await verified(rig)
    rig.backdoor.remove(path_of(made[0]).removesuffix(".attr.json"))
    rig.backdoor.write(f"{HOURS[1]}/no sidecar.txt", b"x")
    await asyncio.sleep(0.06)
    for level in (Level.FULL, Level.QUICK, Level.QUICK):
        report = await rig.check(level)
        assert report.details(Finding.MISSING_BLOB) == [made[0].file_id]
        assert report.details(Finding.ORPHAN_BLOB) == [f"{HOURS[1]}/no sidecar.txt"]
    await rig.full()
    assert (await rig.check(Level.QUICK)).count(Finding.MISSING_BLOB) == 1


async def test_a_young_folder_is_not_trusted(rig: CacheRig, scans: Scans) -> None:
    await rig.upload(storage_path=HOURS[0])
    assert isinstance(rig.backdoor, LocalBackdoor)
    # However long the checks take to come to it.
    young = time.time_ns() + 60 * 10**9 + 1
    os.utime(rig.backdoor.root / HOURS[0], ns=(young, young))
    await rig.check()
    await rig.check(Level.QUICK)
    assert scans.skipped == []
