"""What a user of CacheService is promised: T5 to T8, and the numbers of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from storage_server.cache.report import Finding, Level
from tests.support.cache_rig import CacheRig, path_of


@pytest.fixture
def rig(any_rig: CacheRig) -> CacheRig:
    """Each test on both stores."""
    return any_rig


async def test_an_empty_element_is_consistent(rig: CacheRig) -> None:
    rig.backdoor.write(".keep", b"")
    rig.backdoor.write("2026/01/02/03/.keep", b"")
    for level in Level:
        report = await rig.check(level)
        assert report.is_consistent
        assert (report.total_attr_files, report.total_cache_entries) == (0, 0)
        assert report.inconsistency_percentage == 0
        assert report.findings == 0
    result = await rig.full()
    assert (result.attr_files_scanned, result.cache_entries_after, result.error_count) == (0, 0, 0)


async def test_a_file_whose_row_is_gone_is_an_orphan_attr_and_100_per_cent(rig: CacheRig) -> None:
    sidecar = await rig.upload()
    await rig.lose_row(sidecar)
    report = await rig.check()
    assert (report.total_attr_files, report.total_cache_entries) == (1, 0)
    assert report.count(Finding.ORPHAN_ATTR) == 1
    assert report.details(Finding.ORPHAN_ATTR) == [path_of(sidecar)]
    assert report.inconsistency_percentage == 100
    assert not report.is_consistent


async def test_an_incremental_rebuild_puts_a_lost_row_back(rig: CacheRig) -> None:
    sidecar = await rig.upload()
    before = await rig.row(sidecar)
    await rig.lose_row(sidecar)
    result = await rig.incremental()
    assert (result.cache_entries_before, result.cache_entries_after) == (0, 1)
    assert (result.entries_created, result.entries_updated, result.entries_deleted) == (1, 0, 0)
    after = await rig.row(sidecar)
    assert before is not None and after is not None
    assert after.sidecar == before.sidecar
    report = await rig.check()
    assert report.is_consistent
    assert report.inconsistency_percentage == 0


async def test_a_full_rebuild_restores_every_row_field_by_field(rig: CacheRig) -> None:
    made = await rig.upload_many(3)
    made.append(await rig.upload(b"", unknown='"x-later":{"a":[1,2.50]}', tags=(), attributes={}))
    made.append(await rig.upload(original_filename="отчёт за 2025 год.pdf", version="1.0"))
    await rig.update(made[0], description="changed", legal_hold=True)
    await rig.delete(made[1])
    before = await rig.rows()
    await rig.sql("DELETE FROM {files}")
    result = await rig.full()
    assert (result.entries_created, result.entries_deleted, result.error_count) == (4, 0, 0)
    assert (result.cache_entries_before, result.cache_entries_after) == (0, 4)
    after = await rig.rows()
    assert after.keys() == before.keys()
    for file_id, row in before.items():
        now = after[file_id]
        assert now.sequence > row.sequence
        assert now.cache_updated_at > row.cache_updated_at
        assert now == replace(row, sequence=now.sequence, cache_updated_at=now.cache_updated_at)


async def test_two_files_and_one_row_are_50_per_cent(rig: CacheRig) -> None:
    first, _ = await rig.upload_many(2)
    await rig.lose_row(first)
    assert (await rig.check()).inconsistency_percentage == 50
    await rig.full()
    assert (await rig.check()).inconsistency_percentage == 0


async def test_cleanup_removes_an_expired_row_and_its_file_stays(rig: CacheRig) -> None:
    sidecar, fresh = await rig.upload_many(2)
    await rig.age_row(sidecar, hours=100)
    report = await rig.check()
    assert report.expired_count == 1
    assert report.expired_ids == [sidecar.file_id]
    assert report.is_consistent
    head = await rig.catalog.feed.head()
    assert (await rig.process.cache.cleanup()).deleted_count == 1
    assert (await rig.process.cache.cleanup()).deleted_count == 0
    assert (await rig.catalog.feed.head()).sequence == head.sequence
    assert await rig.row(sidecar) is None
    assert await rig.row(fresh) is not None
    assert rig.backdoor.read(path_of(sidecar))
    assert (await rig.check()).expired_count == 0


async def test_a_full_rebuild_renews_rows_an_incremental_only_those_it_writes(
    rig: CacheRig,
) -> None:
    first, second = await rig.upload_many(2)
    for sidecar in (first, second):
        await rig.age_row(sidecar, hours=100)
    await rig.lose_row(second)
    head = await rig.catalog.feed.head()
    await rig.incremental()
    assert (await rig.check()).expired_ids == [first.file_id]
    await rig.full()
    assert (await rig.check()).expired_count == 0
    # Told to followers: the row that was put back, and nothing that was only renewed.
    assert (await rig.catalog.feed.head()).sequence == head.sequence + 1


async def test_a_check_changes_nothing(rig: CacheRig) -> None:
    kept, lost, edited = await rig.upload_many(3)
    await rig.age_row(kept, hours=100)
    await rig.lose_row(lost)
    rig.edit(edited, description="by hand")
    before, head = await rig.rows(), await rig.catalog.feed.head()
    for level in Level:
        await rig.check(level)
    assert await rig.rows() == before
    assert await rig.catalog.feed.head() == head


async def test_tombstones_count_nowhere(rig: CacheRig) -> None:
    kept, gone, lost = await rig.upload_many(3)
    await rig.delete(gone)
    await rig.delete(lost)
    await rig.lose_row(lost)
    for level in Level:
        report = await rig.check(level)
        assert (report.total_attr_files, report.total_cache_entries) == (1, 1)
        assert report.is_consistent
        assert report.findings == 0
    result = await rig.full()
    assert (result.attr_files_scanned, result.cache_entries_before) == (1, 1)
    assert result.cache_entries_after == 1
    # The row of a tombstone comes back all the same: undeleting needs it, and so do followers.
    row = await rig.row(lost)
    assert row is not None
    assert (await rig.row(kept)) is not None


async def test_a_row_without_a_sidecar_is_dropped_by_full_and_kept_by_incremental(
    rig: CacheRig,
) -> None:
    kept, gone = await rig.upload_many(2)
    rig.backdoor.remove(path_of(gone))
    report = await rig.check()
    assert report.count(Finding.ORPHAN_CACHE) == 1
    assert report.details(Finding.ORPHAN_CACHE) == [gone.file_id]
    assert report.inconsistency_percentage == 50
    assert (await rig.incremental()).entries_deleted == 0
    assert await rig.row(gone) is not None
    result = await rig.full()
    assert (result.entries_deleted, result.cache_entries_after) == (1, 1)
    assert await rig.row(gone) is None
    assert await rig.row(kept) is not None
    changes = await rig.catalog.feed.read(0)
    assert (changes[-1].kind, changes[-1].file_id) == ("dropped", gone.file_id)


async def test_a_sidecar_edited_by_hand_is_stale_until_a_rebuild(rig: CacheRig) -> None:
    sidecar = await rig.upload()
    edited = rig.edit(sidecar, description="by hand", revision=1)
    report = await rig.check()
    assert report.count(Finding.STALE) == 1
    assert report.inconsistency_percentage == 100
    assert (await rig.incremental()).entries_updated == 1
    row = await rig.row(sidecar)
    assert row is not None
    assert row.sidecar == edited
    assert (await rig.check()).is_consistent


async def test_a_touched_sidecar_that_says_the_same_is_not_stale(rig: CacheRig) -> None:
    sidecar = await rig.upload()
    rig.edit(sidecar)
    assert (await rig.check()).is_consistent
    result = await rig.incremental()
    assert (result.entries_created, result.entries_updated) == (0, 0)


async def test_a_restored_sidecar_with_a_lower_revision_is_the_truth(rig: CacheRig) -> None:
    first = await rig.upload()
    for number in range(4):
        await rig.update(first, version=str(number))
    rig.edit(first)
    assert (await rig.check()).count(Finding.STALE) == 1
    assert (await rig.full()).entries_updated == 1
    row = await rig.row(first)
    assert row is not None
    assert row.sidecar == first


async def test_a_row_damaged_in_the_database_is_found_and_mended(rig: CacheRig) -> None:
    sidecars = await rig.upload_many(3)
    await rig.sql(
        "UPDATE {files} SET description = 'damaged', size_bytes = 99, tags = '{{}}'"
        " WHERE file_id = $1",
        sidecars[0].file_id,
    )
    report = await rig.check()
    assert report.count(Finding.STALE) == 1
    assert report.details(Finding.STALE) == [sidecars[0].file_id]
    result = await rig.incremental()
    assert (result.entries_updated, result.entries_created) == (1, 0)
    assert await rig.rows_equal_sidecars()


async def test_counters_are_right_after_a_rebuild(rig: CacheRig) -> None:
    await rig.upload(b"x" * 10)
    await rig.delete(await rig.upload(b"x" * 5))
    await rig.sql("DELETE FROM {files}")
    await rig.full()
    head = await rig.catalog.feed.head()
    assert (head.file_count, head.used_bytes, head.complete) == (1, 15, True)


async def test_rows_that_come_back_during_a_check_are_counted_on_both_sides(
    rig: CacheRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await rig.upload_many(10)
    await rig.sql("DELETE FROM {files}")
    original, read = rig.store.read_sidecars, iter((made[:2],))

    async def while_others_read(paths: Sequence[str]) -> Any:
        for sidecar in next(read, ()):
            await rig.put_back(sidecar)
        return await original(paths)

    monkeypatch.setattr(rig.store, "read_sidecars", while_others_read)
    report = await rig.check()
    assert report.count(Finding.ORPHAN_ATTR) == 8
    assert report.inconsistency_percentage == 80
