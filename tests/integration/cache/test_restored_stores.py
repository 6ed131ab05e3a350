"""Stores as backups and tools leave them: all times touched, or as of a week ago."""

from __future__ import annotations

import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from mesh.errors import FailedPrecondition
from storage_server.cache.dropping import DELETE_RATIO_FROM
from storage_server.cache.report import Finding, Level
from storage_server.domain.sidecar import Sidecar
from tests.support.backdoor import LocalBackdoor
from tests.support.cache_rig import CacheRig, utc_now


@pytest.fixture
def root(rig: CacheRig) -> Path:
    assert isinstance(rig.backdoor, LocalBackdoor)
    return rig.backdoor.root


def touch_all(root: Path) -> None:
    for path in [*root.glob("[0-9]*/*/*/*/*"), *root.glob("[0-9]*/*/*/*")]:
        found = path.stat()
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 3_600_000_000_001))


async def test_touched_times_are_no_finding_and_a_rebuild_takes_them_in_quietly(
    rig: CacheRig, root: Path
) -> None:
    made = [await rig.upload(at=utc_now() - timedelta(hours=hour)) for hour in range(4)]
    await rig.delete(made[0])
    await rig.check()
    touch_all(root)
    for level in Level:
        report = await rig.check(level)
        assert (report.findings, report.inconsistency_percentage) == (0, 0)
        assert report.total_attr_files == report.total_cache_entries == 3
    head = (await rig.catalog.feed.head()).sequence
    result = await rig.full(max_delete_ratio=0)
    assert (result.entries_created, result.entries_updated, result.entries_deleted) == (0, 0, 0)
    assert (await rig.catalog.feed.head()).sequence == head
    read: list[str] = []
    original = rig.store.read_sidecars

    async def reading(paths: list[str]) -> object:
        read.extend(paths)
        return await original(paths)

    rig.store.read_sidecars = reading  # type: ignore[assignment, method-assign]
    await rig.full()
    assert read == []


async def test_a_store_of_last_week_keeps_what_it_has_and_names_what_it_lacks(
    rig: CacheRig, root: Path, tmp_path: Path
) -> None:
    old = await rig.upload_many(5)
    changed, gone, undeleted = old[:3]
    gone_before = await rig.delete(undeleted)
    # Copies have other inodes and the old times, as rsync -a and tar leave them.
    backup = tmp_path / "backup"
    shutil.copytree(root, backup)
    await rig.update(changed, description="this week")
    await rig.delete(gone)
    since = await rig.upload_many(DELETE_RATIO_FROM + 1)
    shutil.rmtree(root)
    shutil.copytree(backup, root)

    report = await rig.check()
    assert report.count(Finding.ORPHAN_CACHE) == len(since)
    assert set(report.details(Finding.ORPHAN_CACHE)) <= {one.file_id for one in since}
    # One was changed since. The sidecar of one that was deleted says that it is there.
    assert report.count(Finding.STALE) == 2
    assert report.findings == len(since) + 2
    with pytest.raises(FailedPrecondition) as stopped:
        await rig.full()
    assert stopped.value.reason == "MAX_DELETE_RATIO"
    assert f"{len(since)} of " in stopped.value.message
    assert any(one.file_id in stopped.value.message for one in since)
    rows = await rig.rows()
    assert rows.keys() == {one.file_id for one in [*old, *since]}
    assert rows[changed.file_id].sidecar == changed
    assert rows[gone.file_id].sidecar == gone
    assert rows[undeleted.file_id].sidecar == gone_before
    result = await rig.full(max_delete_ratio=1)
    assert result.entries_deleted == len(since)
    assert await rig.rows_equal_sidecars()
    assert (await rig.check(Level.DEEP)).findings == 0


async def test_what_comes_back_after_all_is_a_file_again(rig: CacheRig, root: Path) -> None:
    made: list[Sidecar] = await rig.upload_many(3)
    away = root.with_name("away")
    shutil.move(root / made[0].storage_path, away)
    assert (await rig.full()).entries_deleted == 3
    shutil.move(away, root / made[0].storage_path)
    assert (await rig.full()).entries_created == 3
    assert (await rig.check(Level.DEEP)).findings == 0
