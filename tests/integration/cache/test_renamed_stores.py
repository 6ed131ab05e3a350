"""A store whose names have another form than recorded: the id counts, nothing is lost."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import pytest

from mesh.errors import Unavailable
from storage_server.cache.report import Finding, Level
from storage_server.domain.naming import blob_path
from storage_server.domain.sidecar import FileState, Sidecar, encode
from tests.support.backdoor import LocalBackdoor
from tests.support.cache_rig import CacheRig, a_sidecar, path_of, utc_now
from tests.support.renaming import FORMS, Form, only_blobs, only_sidecars, renamed

NAMES = ("Отчёт й.pdf", "Résumé é.PDF. ", "日本 が.tar.gz", "plain.txt", "ё" * 30)


@pytest.fixture(params=["local", "s3"])
def rig(request: pytest.FixtureRequest) -> CacheRig:
    """Most tests on both stores."""
    found: CacheRig = request.getfixturevalue(f"{request.param}_rig")
    return found


def rename_all(rig: CacheRig, form: Form) -> int:
    """Give every file another form of its name; how many names changed."""
    changed = 0
    for path in sorted(rig.backdoor.paths()):
        to = renamed(path, form)
        if to != path:
            rig.backdoor.rename(path, to)
            changed += 1
    return changed


async def some_files(rig: CacheRig) -> list[Sidecar]:
    return [await rig.upload(original_filename=name) for name in NAMES]


def partly(form: Form) -> Form:
    """Changes every second name."""
    turn = itertools.count()
    return lambda name: form(name) if next(turn) % 2 else name


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_a_renamed_store_is_consistent_and_loses_nothing(
    local_rig: CacheRig, form: Form
) -> None:
    await _renamed_store_loses_nothing(local_rig, form)


async def test_a_renamed_bucket_is_consistent_and_loses_nothing(s3_rig: CacheRig) -> None:
    await _renamed_store_loses_nothing(s3_rig, lambda name: FORMS["NFD"](name).upper())


async def _renamed_store_loses_nothing(rig: CacheRig, form: Form) -> None:
    made = await some_files(rig)
    before = await rig.rows()
    names = {one.file_id: one.storage_filename for one in made}
    touched = {one.file_id for one in made if form(names[one.file_id]) != names[one.file_id]}
    touched |= {one.file_id for one in made if renamed(path_of(one), form) != path_of(one)}
    rename_all(rig, form)
    head = (await rig.catalog.feed.head()).sequence
    for full in (True, False):
        result = await rig.process.cache.rebuild(full=full, max_delete_ratio=0)
        assert (result.entries_created, result.entries_updated) == (0, 0)
        assert (result.entries_deleted, result.error_count) == (0, 0)
        assert result.attr_files_scanned == len(made)
    assert (await rig.catalog.feed.head()).sequence == head
    for level in Level:
        report = await rig.check(level)
        assert report.is_consistent, report.details(Finding.MISSING_BLOB)
        assert report.count(Finding.RENAMED) == len(touched)
        assert report.findings == len(touched)
        assert report.total_attr_files == report.total_cache_entries == len(made)
        details = report.details(Finding.RENAMED)
        assert len(details) == len(touched)
        assert all("same file under another form of its name" in detail for detail in details)
    after = await rig.rows()
    assert {i: row.sidecar for i, row in after.items()} == {i: r.sidecar for i, r in before.items()}


@pytest.mark.parametrize("part", [only_blobs, only_sidecars, partly])
async def test_a_file_of_which_one_half_is_renamed_is_whole(
    rig: CacheRig, part: Callable[[Form], Form]
) -> None:
    made = await some_files(rig)
    assert rename_all(rig, part(FORMS["upper case"]))
    for level in Level:
        report = await rig.check(level)
        assert report.is_consistent, report.details(Finding.MISSING_BLOB)
        assert report.count(Finding.RENAMED) == report.findings > 0
    result = await rig.full()
    assert (result.entries_deleted, result.error_count) == (0, 0)
    assert (await rig.rows()).keys() == {one.file_id for one in made}


async def test_rows_come_back_from_a_renamed_store_as_they_were(rig: CacheRig) -> None:
    made = await some_files(rig)
    gone = await rig.delete(made[0])
    before = await rig.rows()
    rename_all(rig, FORMS["upper case"])
    await rig.sql("DELETE FROM {files}")
    report = await rig.check()
    live = len(made) - 1
    assert report.count(Finding.ORPHAN_ATTR) == report.count(Finding.RENAMED) == live
    assert report.inconsistency_percentage == 100
    assert (await rig.full()).entries_created == live
    after = await rig.rows()
    assert {i: row.sidecar for i, row in after.items()} == {i: r.sidecar for i, r in before.items()}
    assert after[gone.file_id].blob_present
    assert (await rig.check()).is_consistent


async def test_a_renamed_and_changed_sidecar_is_stale_and_read(rig: CacheRig) -> None:
    made = await rig.upload(original_filename="Отчёт й.pdf")
    path = path_of(made)
    to = renamed(path, FORMS["NFD"])
    rig.backdoor.remove(path)
    edited = rig.edit(made, description="by hand")
    rig.backdoor.rename(path, to)
    report = await rig.check()
    assert report.details(Finding.STALE) == [made.file_id]
    assert report.count(Finding.RENAMED) == 1
    assert report.findings == 2
    assert report.inconsistency_percentage == 100
    assert (await rig.full()).entries_updated == 1
    row = await rig.row(made)
    assert row is not None and row.sidecar == edited


async def test_of_two_forms_of_one_file_the_recorded_one_wins(rig: CacheRig) -> None:
    made = await rig.upload(original_filename="Отчёт й.pdf")
    copy = renamed(path_of(made), FORMS["NFD"])
    edited = rig.edit(made, description="by hand")
    rig.backdoor.rename(path_of(made), copy)
    rig.backdoor.write(path_of(made), encode(made))
    for lost in (False, True):
        if lost:
            await rig.lose_row(made)
        report = await rig.check()
        assert report.count(Finding.INVALID_ATTR) == 1
        assert report.count(Finding.RENAMED) == 0
        assert "is taken by" in report.details(Finding.INVALID_ATTR)[0]
        await rig.full()
        row = await rig.row(made)
        assert row is not None and row.sidecar == made != edited


async def test_a_renamed_blob_that_is_short_is_missing(rig: CacheRig) -> None:
    made = await rig.upload(original_filename="Отчёт й.pdf")
    blob = blob_path(made.storage_path, made.storage_filename)
    rig.backdoor.remove(blob)
    rig.backdoor.write(renamed(blob, FORMS["NFD"]), b"hell")
    for level in Level:
        report = await rig.check(level)
        assert report.details(Finding.MISSING_BLOB) == [
            f"{made.file_id}: its blob has 4 bytes, its sidecar says 5"
        ]
        assert report.count(Finding.RENAMED) == 1
        assert report.findings == 2


async def test_a_folder_moved_to_another_hour_is_found_by_a_rebuild(rig: CacheRig) -> None:
    made = await some_files(rig)
    moved = "2026/01/02/03"
    for path in sorted(rig.backdoor.paths()):
        rig.backdoor.rename(path, f"{moved}/{path.rpartition('/')[2]}")
    report = await rig.check()
    assert report.count(Finding.STALE) == len(made)
    assert report.findings == len(made)
    assert report.inconsistency_percentage == 100
    result = await rig.full(max_delete_ratio=0)
    assert (result.entries_updated, result.entries_deleted, result.error_count) == (
        len(made), 0, 0,
    )  # fmt: skip
    rows = await rig.rows()
    assert {row.sidecar.storage_path for row in rows.values()} == {moved}
    assert rows.keys() == {one.file_id for one in made}
    assert (await rig.check(Level.DEEP)).findings == 0


async def test_names_that_are_no_utf_8_are_found_and_told(local_rig: CacheRig) -> None:
    rig = local_rig
    made = await rig.upload(original_filename="Отчёт.pdf")
    assert isinstance(rig.backdoor, LocalBackdoor)
    for path in rig.backdoor.paths():
        rig.backdoor.rename(path, os.fsdecode(path.encode("cp1251")))
    for level in Level:
        report = await rig.check(level)
        assert report.is_consistent
        assert made.storage_filename in report.details(Finding.RENAMED)[0]
    await rig.sql("DELETE FROM {files}")
    assert (await rig.check()).count(Finding.ORPHAN_ATTR) == 1
    assert (await rig.full()).entries_created == 1
    row = await rig.row(made)
    assert row is not None and row.sidecar == made


async def test_deleted_files_of_a_renamed_store_are_no_finding(rig: CacheRig) -> None:
    made = await some_files(rig)
    for one in made[:2]:
        await rig.delete(one)
    await rig.store.delete_blob(blob_path(made[0].storage_path, made[0].storage_filename))
    assert await rig.catalog.writes.blob_removed(made[0].file_id)
    rename_all(rig, FORMS["upper case"])
    for level in Level:
        report = await rig.check(level)
        assert report.is_consistent
        assert report.findings == report.count(Finding.RENAMED) == len(made) - 2
        assert report.total_attr_files == len(made) - 2
    assert (await rig.full()).error_count == 0
    states = [row.sidecar.state for row in (await rig.rows()).values()]
    assert states.count(FileState.DELETED) == 2


async def test_an_adopted_name_without_an_id_is_taken_as_it_lies(rig: CacheRig) -> None:
    adopted = a_sidecar(
        file_id="2f8e3d0a-0000-4000-8000-00000000000a",
        storage_filename="Отчёт й.pdf",
        storage_path="2019/01/02/03",
        created_at=utc_now(),
        updated_at=utc_now(),
        expires_at=None,
        retention_days=None,
    )
    rig.backdoor.write(path_of(adopted), encode(adopted))
    rig.backdoor.write("2019/01/02/03/Отчёт й.pdf", b"hello")
    await rig.full()
    rename_all(rig, FORMS["NFD"])
    assert (await rig.check()).count(Finding.STALE) == 1
    result = await rig.full(max_delete_ratio=0)
    assert (result.entries_updated, result.error_count) == (1, 0)
    assert (await rig.check(Level.DEEP)).findings == 0


async def test_a_rebuild_gives_renamed_files_their_names_back_if_asked_to(rig: CacheRig) -> None:
    made = await some_files(rig)
    gone = await rig.delete(made[-1])
    await rig.lose_row(made[0])
    before = rig.backdoor.paths()
    rename_all(rig, partly(FORMS["upper case"]))
    assert rig.backdoor.paths() != before
    assert (await rig.full()).names_restored == 0
    assert rig.backdoor.paths() != before
    result = await rig.full(restore_names=True)
    assert result.names_restored == len(made)
    assert (result.entries_deleted, result.error_count) == (0, 0)
    assert rig.backdoor.paths() == before
    assert (await rig.full(restore_names=True)).names_restored == 0
    assert (await rig.check(Level.DEEP)).findings == 0
    assert (await rig.rows())[gone.file_id].blob_present


async def test_a_restoring_that_is_cut_off_anywhere_leaves_whole_files(
    local_rig: CacheRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = local_rig
    made = await some_files(rig)
    before = rig.backdoor.paths()
    rename_all(rig, FORMS["upper case"])
    original = rig.store.rename
    for allowed in range(3):
        left = iter(range(allowed))

        async def cut_off(path: str, to: str, left: Iterator[int] = left) -> bool:
            if next(left, None) is None:
                raise Unavailable("killed here")
            return await original(path, to)

        with monkeypatch.context() as broken:
            broken.setattr(rig.store, "rename", cut_off)
            with pytest.raises(Unavailable):
                await rig.full(restore_names=True)
        report = await rig.check(Level.DEEP)
        assert report.is_consistent
        assert report.total_attr_files == len(made)
    await rig.full(restore_names=True)
    assert rig.backdoor.paths() == before


async def test_a_name_that_is_taken_is_not_restored_over(local_rig: CacheRig) -> None:
    rig = local_rig
    made = await rig.upload(original_filename="Отчёт й.pdf")
    blob = blob_path(made.storage_path, made.storage_filename)
    other = renamed(blob, FORMS["NFD"])
    rig.backdoor.rename(blob, other)
    assert isinstance(rig.backdoor, LocalBackdoor)
    (rig.backdoor.root / blob).mkdir()
    assert (await rig.full(restore_names=True)).names_restored == 0
    assert rig.backdoor.read(other) == b"hello"
