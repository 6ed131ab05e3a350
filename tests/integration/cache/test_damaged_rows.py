"""Rows that an accident in the database has changed: found, and mended by a full rebuild."""

from __future__ import annotations

import pytest

from storage_server.cache.report import Finding, Level
from storage_server.domain.file_id import new_file_id
from tests.support.cache_rig import CacheRig, path_of, utc_now

DAMAGES = {
    "text": "description = 'damaged'",
    "size": "size_bytes = -5",
    "list": "tags = ARRAY['a', NULL]",
    "object": """attributes = '{{"a": 1}}'""",
    "state": "state = 'deleted'",
    "times": "created_at = 'infinity', expires_at = '-infinity'",
    "folder": "storage_path = '2020/01/02/03'",
    "no folder": "storage_path = ''",
    "a folder that climbs": "storage_path = '../../etc'",
    "name": "storage_filename = 'x'",
    "a name that is none": "storage_filename = '.'",
    "identity": "sidecar_mtime_ns = 7",
    "digest": "digest = ''",
    "hash": "row_hash = NULL",
    "crc": "crc32c = -1",
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_damage_of_any_column_is_mended(rig: CacheRig, damage: str) -> None:
    hurt, _ = await rig.upload_many(2)
    await rig.sql(f"UPDATE {{files}} SET {DAMAGES[damage]} WHERE file_id = $1", hurt.file_id)
    if damage != "identity":
        report = await rig.check()
        assert report.count(Finding.STALE) == 1, (report._counts, report._details)
        assert report.findings == 1
    await rig.full()
    assert await rig.rows_equal_sidecars()
    assert (await rig.check()).is_consistent


async def test_a_row_whose_id_was_changed_makes_room_for_the_right_one(rig: CacheRig) -> None:
    hurt, _ = await rig.upload_many(2)
    wrong = new_file_id(utc_now())
    await rig.sql("UPDATE {files} SET file_id = $2 WHERE file_id = $1", hurt.file_id, wrong)
    report = await rig.check()
    assert report.count(Finding.ORPHAN_CACHE) == 1
    assert report.count(Finding.ORPHAN_ATTR) == 1
    assert report.total_attr_files == 2
    assert report.inconsistency_percentage == pytest.approx(200 / 3)
    result = await rig.full()
    assert (result.entries_created, result.entries_deleted) == (1, 1)
    assert await rig.rows_equal_sidecars()
    assert (await rig.check()).is_consistent


async def test_a_copied_row_is_an_orphan(rig: CacheRig) -> None:
    original, _ = await rig.upload_many(2)
    copy = new_file_id(utc_now())
    await rig.sql(
        "CREATE TABLE copied AS SELECT * FROM {files} WHERE file_id = $1", original.file_id
    )
    await rig.sql("UPDATE copied SET file_id = $1", copy)
    await rig.sql("INSERT INTO {files} SELECT * FROM copied")
    for level in Level:
        report = await rig.check(level)
        assert report.count(Finding.ORPHAN_CACHE) == 1
        assert report.details(Finding.ORPHAN_CACHE) == [copy]
        assert report.findings == 1
        assert report.inconsistency_percentage == pytest.approx(100 / 3)
    assert (await rig.incremental()).entries_deleted == 0
    assert (await rig.full()).entries_deleted == 1
    assert await rig.rows_equal_sidecars()
    assert (await rig.check()).is_consistent


async def test_two_rows_that_changed_places_are_mended(rig: CacheRig) -> None:
    first, second = await rig.upload_many(2)
    for one, other in ((first, second), (second, first)):
        await rig.sql(
            "UPDATE {files} SET storage_filename = $2 WHERE file_id = $1",
            one.file_id,
            other.storage_filename,
        )
    report = await rig.check()
    assert report.count(Finding.STALE) == 2
    assert report.findings == 2
    await rig.full()
    assert await rig.rows_equal_sidecars()
    assert (await rig.check()).is_consistent


async def test_a_row_written_by_hand_without_a_sidecar_goes(rig: CacheRig) -> None:
    await rig.upload()
    await rig.sql(
        "INSERT INTO {files} (file_id, original_filename, storage_filename, storage_path,"
        " size_bytes) VALUES ('not an id', 'a', '', '/', 1)"
    )
    report = await rig.check()
    assert report.count(Finding.ORPHAN_CACHE) == 1
    assert report.inconsistency_percentage == 50
    assert (await rig.full()).entries_deleted == 1
    assert await rig.rows_equal_sidecars()


async def test_a_truncated_table_is_filled_again(rig: CacheRig) -> None:
    made = await rig.upload_many(5)
    await rig.sql("TRUNCATE {files}")
    assert (await rig.check()).count(Finding.ORPHAN_ATTR) == 5
    assert (await rig.incremental()).entries_created == 5
    assert {path_of(row.sidecar) for row in (await rig.rows()).values()} == {
        path_of(sidecar) for sidecar in made
    }
