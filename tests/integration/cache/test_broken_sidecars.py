"""A sidecar that can't be used is reported, stops nothing, and costs no row."""

from __future__ import annotations

import contextlib

import pytest

from storage_server.cache.report import Finding, Level
from storage_server.domain.sidecar import Sidecar, encode
from storage_server.store.port import SIDECAR_SUFFIX
from tests.support.broken_sidecars import BREAKS
from tests.support.cache_rig import CacheRig, a_sidecar, path_of, utc_now


def put_folder(rig: CacheRig, sidecar: Sidecar) -> str:
    """Put a folder with something in it where a sidecar should be, and answer its path."""
    path = path_of(sidecar)
    with contextlib.suppress(FileNotFoundError):
        rig.backdoor.remove(path)
    rig.backdoor.write(f"{path}/something", b"x")
    return path


async def test_each_is_reported_none_stops_others_and_none_removes_a_row(rig: CacheRig) -> None:
    good = await rig.upload_many(3)
    known = {name: await rig.upload(description="") for name in BREAKS}
    new = {name: a_sidecar(description="") for name in BREAKS}
    before = await rig.rows()
    for name, spoil in BREAKS.items():
        for sidecar in (known[name], new[name]):
            rig.backdoor.write(path_of(sidecar), spoil(encode(sidecar)))
    await rig.lose_row(good[0])
    del before[good[0].file_id]
    broken = {path_of(one) for some in (known, new) for one in some.values()}

    for level in Level:
        report = await rig.check(level)
        assert report.count(Finding.INVALID_ATTR) == len(broken), report.details(
            Finding.INVALID_ATTR
        )
        assert report.count(Finding.ORPHAN_ATTR) == 1
        assert report.count(Finding.ORPHAN_CACHE) == 0
        assert report.count(Finding.STALE) == 0
        assert report.total_attr_files == len(broken) + 3
        # Good ones, broken ones with a row, and broken ones without, of which each counts once.
        wrong, union = len(broken) + 1, len(broken) + 3
        assert report.inconsistency_percentage == pytest.approx(100 * wrong / union)

    for full in (False, True):
        result = await rig.process.cache.rebuild(full=full)
        assert result.error_count == len(broken)
        assert len(result.errors) == 10
        assert all(error.partition(":")[0] in broken for error in result.errors)
        assert result.entries_created == (0 if full else 1)
        assert result.attr_files_scanned == len(broken) + 3
        after = await rig.rows()
        assert after.pop(good[0].file_id).sidecar == good[0]
        assert after.keys() == before.keys()
        for file_id, row in before.items():
            assert (after[file_id].sidecar, after[file_id].sequence) == (row.sidecar, row.sequence)


async def test_a_folder_called_like_a_sidecar_is_reported_and_costs_no_row(rig: CacheRig) -> None:
    kept, good = await rig.upload_many(2)
    paths = {put_folder(rig, kept), put_folder(rig, a_sidecar())}
    for level in Level:
        report = await rig.check(level)
        assert report.count(Finding.INVALID_ATTR) == 2
        assert report.findings == 2
        assert report.total_attr_files == 3
        assert report.inconsistency_percentage == pytest.approx(200 / 3)
    for full in (False, True):
        result = await rig.process.cache.rebuild(full=full)
        assert result.error_count == 2
        assert {error.partition(":")[0] for error in result.errors} == paths
        assert result.attr_files_scanned == 3
    assert (await rig.rows()).keys() == {kept.file_id, good.file_id}


async def test_of_two_with_one_id_the_one_that_the_row_names_wins(rig: CacheRig) -> None:
    sidecar = await rig.upload()
    copy = a_sidecar(
        file_id=sidecar.file_id, storage_path="2026/01/02/03", description="a copy elsewhere"
    )
    rig.backdoor.write(path_of(copy), encode(copy))
    # The row names the one that is not at home.
    await rig.full()
    assert (await rig.rows())[sidecar.file_id].sidecar == sidecar
    for _ in range(2):
        report = await rig.check()
        assert report.count(Finding.INVALID_ATTR) == 1
        assert path_of(copy) in report.details(Finding.INVALID_ATTR)[0]
        assert path_of(sidecar) in report.details(Finding.INVALID_ATTR)[0]
        result = await rig.full()
        assert result.error_count == 1
        assert path_of(copy) in result.errors[0]
        assert path_of(sidecar) in result.errors[0]
        assert (await rig.rows())[sidecar.file_id].sidecar == sidecar


async def test_of_two_with_one_id_and_no_row_the_one_in_its_home_folder_wins(
    rig: CacheRig,
) -> None:
    home = await rig.upload()
    copies = []
    for folder in ("2026/01/02/03", "2999/01/02/03"):
        copy = a_sidecar(file_id=home.file_id, storage_path=folder, description=folder)
        rig.backdoor.write(path_of(copy), encode(copy))
        copies.append(copy)
    await rig.lose_row(home)
    report = await rig.check()
    assert report.count(Finding.ORPHAN_ATTR) == 1
    assert report.details(Finding.ORPHAN_ATTR) == [path_of(home)]
    assert report.count(Finding.INVALID_ATTR) == 2
    result = await rig.full()
    assert (result.entries_created, result.error_count) == (1, 2)
    assert (await rig.rows())[home.file_id].sidecar == home


async def test_a_row_that_names_a_copy_away_from_home_keeps_it(rig: CacheRig) -> None:
    home = await rig.upload()
    away = a_sidecar(file_id=home.file_id, storage_path="2026/01/02/03", description="away")
    rig.backdoor.write(path_of(away), encode(away))
    rig.backdoor.remove(path_of(home))
    assert (await rig.check()).count(Finding.STALE) == 1
    await rig.full()
    assert (await rig.rows())[home.file_id].sidecar == away
    rig.backdoor.write(path_of(home), encode(home))
    report = await rig.check()
    assert path_of(home) in report.details(Finding.INVALID_ATTR)[0]
    await rig.full()
    assert (await rig.rows())[home.file_id].sidecar == away
    rig.backdoor.remove(path_of(away))
    await rig.full()
    assert (await rig.rows())[home.file_id].sidecar == home


async def test_a_broken_sidecar_keeps_its_row_although_a_valid_copy_lies_elsewhere(
    rig: CacheRig,
) -> None:
    home = await rig.upload()
    copy = a_sidecar(file_id=home.file_id, storage_path="2026/01/02/03", description="a copy")
    rig.backdoor.write(path_of(copy), encode(copy))
    rig.backdoor.write(path_of(home), b"{")
    for level in Level:
        report = await rig.check(level)
        assert report.count(Finding.INVALID_ATTR) == 2
        assert report.findings == 2
    result = await rig.full()
    assert result.error_count == 2
    assert (await rig.rows())[home.file_id].sidecar == home


async def test_an_adopted_sidecar_without_an_id_in_its_name_is_taken(rig: CacheRig) -> None:
    adopted = a_sidecar(
        file_id="2f8e3d0a-0000-4000-8000-00000000000a",
        storage_filename="plain.pdf",
        storage_path="2019/01/02/03",
        created_at=utc_now(),
        updated_at=utc_now(),
        expires_at=None,
        retention_days=None,
    )
    rig.backdoor.write("2019/01/02/03/plain.pdf" + SIDECAR_SUFFIX, encode(adopted))
    rig.backdoor.write("2019/01/02/03/plain.pdf", b"hello")
    assert (await rig.check()).count(Finding.ORPHAN_ATTR) == 1
    assert (await rig.full()).entries_created == 1
    assert (await rig.check()).is_consistent


async def test_details_name_the_first_ten_and_counts_all(rig: CacheRig) -> None:
    for sidecar in await rig.upload_many(13):
        rig.backdoor.write(path_of(sidecar), b"{")
    for level in (Level.FULL, Level.DEEP):
        report = await rig.check(level)
        assert report.count(Finding.INVALID_ATTR) == 13
        assert len(report.details(Finding.INVALID_ATTR)) == 10
        assert report.inconsistency_percentage == 100
