"""What becomes of a row that is too old to be believed, by store, database and lock."""

from __future__ import annotations

import asyncio
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mesh.errors import Aborted, DataLoss, Unavailable
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.sidecar import FileState
from storage_server.domain.sidecar_changes import tombstoned, updated
from storage_server.store.paths import ELEMENT_FILE
from tests.support.memory_element import MemoryElement, path_of
from tests.support.origins import BY_ALICE

SILENT = Unavailable("the store is silent", reason="STORAGE_DOWN")


def now() -> datetime:
    return datetime.now(UTC)


async def kinds(element: MemoryElement) -> list[ChangeKind]:
    """What the feed has told."""
    return [change.kind for change in await element.catalog.feed.read(0)]


async def an_expired_file(element: MemoryElement, **header: str) -> str:
    file_id = (await element.upload(**header)).sidecar.file_id
    element.expire()
    element.calls.made.clear()
    return file_id


async def test_a_fresh_row_is_answered_without_the_store(element: MemoryElement) -> None:
    file_id = (await element.upload()).sidecar.file_id
    element.calls.made.clear()
    view = await element.lookup.find(file_id)
    assert view is not None
    assert (view.cache_expired, view.cache_stale, view.sequence) == (False, False, 1)
    assert element.calls.made == []


async def test_an_expired_row_that_is_right_is_renewed_and_nobody_is_told(
    element: MemoryElement,
) -> None:
    file_id = await an_expired_file(element)
    view = await element.lookup.find(file_id)
    assert view is not None
    assert (view.cache_expired, view.cache_stale, view.sequence) == (False, False, 1)
    row = element.row(file_id)
    assert row is not None
    assert not row.cache_expired(now())
    assert await kinds(element) == [ChangeKind.CREATED]


async def test_a_sidecar_changed_by_hand_is_answered_written_and_told(
    element: MemoryElement,
) -> None:
    file_id = await an_expired_file(element, description="old")
    element.put_sidecar(updated(element.sidecar(file_id), {"description": "new"}, now()))
    view = await element.lookup.find(file_id)
    assert view is not None
    assert (view.sidecar.description, view.cache_stale, view.sequence) == ("new", False, 2)
    row = element.row(file_id)
    assert row is not None
    assert row.sidecar == view.sidecar
    assert await kinds(element) == [ChangeKind.CREATED, ChangeKind.UPDATED]


@pytest.mark.parametrize("deleted", [True, False])
async def test_a_tombstone_written_or_taken_back_by_hand_is_told_as_that(
    element: MemoryElement, deleted: bool
) -> None:
    file_id = await an_expired_file(element)
    sidecar = element.sidecar(file_id)
    element.put_sidecar(tombstoned(sidecar, now()))
    if not deleted:
        await element.lookup.find(file_id)
        element.expire()
        element.put_sidecar(sidecar)
    view = await element.lookup.find(file_id)
    assert view is not None
    assert (view.sidecar.state is FileState.DELETED) is deleted
    told = ChangeKind.DELETED if deleted else ChangeKind.UNDELETED
    assert (await kinds(element))[-1] is told
    assert element.tables.file_count == (0 if deleted else 1)


async def test_a_file_without_a_row_gets_one_back(element: MemoryElement) -> None:
    file_id = await an_expired_file(element)
    element.tables.files.clear()
    view = await element.lookup.find(file_id)
    assert view is not None
    assert not view.cache_stale
    assert element.row(file_id) is not None
    assert element.tables.file_count == 1


async def test_a_tombstone_without_a_row_is_answered_and_gets_none(element: MemoryElement) -> None:
    file_id = await an_expired_file(element)
    element.put_sidecar(tombstoned(element.sidecar(file_id), now()))
    element.tables.files.clear()
    view = await element.lookup.find(file_id)
    assert view is not None
    assert view.sidecar.state is FileState.DELETED
    assert element.row(file_id) is None


async def test_a_file_whose_sidecar_is_gone_is_not_there_and_keeps_its_row(
    element: MemoryElement,
) -> None:
    file_id = await an_expired_file(element)
    del element.memory.files[path_of(element.sidecar(file_id))]
    assert await element.lookup.find(file_id) is None
    assert element.row(file_id) is not None


async def test_a_store_without_its_element_file_proves_nothing_gone(element: MemoryElement) -> None:
    file_id = await an_expired_file(element)
    element.memory.files.clear()
    view = await element.lookup.find(file_id)
    assert view is not None
    assert view.cache_stale
    assert not element.element.storage_ok
    assert ELEMENT_FILE not in element.memory.files


async def test_a_sidecar_under_another_form_of_its_name_is_found(element: MemoryElement) -> None:
    file_id = await an_expired_file(element, original_filename="отчёт.pdf")
    path = path_of(element.sidecar(file_id))
    other = unicodedata.normalize("NFD", path)
    assert other != path
    element.memory.files[other] = element.memory.files.pop(path)
    view = await element.lookup.find(file_id)
    assert view is not None
    assert (view.sidecar.original_filename, view.cache_stale) == ("отчёт.pdf", False)


async def test_a_row_that_names_another_folder_is_written_anew(element: MemoryElement) -> None:
    file_id = await an_expired_file(element)
    right = element.sidecar(file_id)
    row = element.tables.files[file_id]
    wrong = replace(right, storage_path="2001/01/01/01")
    element.tables.files[file_id] = replace(row, sidecar=wrong)
    view = await element.lookup.find(file_id)
    assert view is not None
    assert view.sidecar == right
    found = element.row(file_id)
    assert found is not None
    assert found.sidecar == right


async def test_while_the_store_is_silent_the_old_answer_is_given_as_stale(
    element: MemoryElement,
) -> None:
    file_id = await an_expired_file(element, description="kept")
    reading = element.calls.pause("read_sidecar")
    view = await element.lookup.find(file_id, deadline_seconds=0.01)
    assert view is not None
    assert (view.sidecar.description, view.cache_stale) == ("kept", True)
    reading.go.set()
    # The refresh went on; whoever asks next waits for its end.
    view = await element.lookup.find(file_id)
    assert view is not None
    assert not view.cache_stale


async def test_when_the_store_is_down_the_old_answer_is_stale_and_without_a_row_there_is_none(
    element: MemoryElement,
) -> None:
    file_id = await an_expired_file(element)
    element.calls.fail("read_sidecar", SILENT)
    view = await element.lookup.find(file_id)
    assert view is not None
    assert view.cache_stale
    element.tables.files.clear()
    with pytest.raises(Unavailable):
        await element.lookup.find(file_id)


async def test_a_damaged_sidecar_leaves_the_old_answer_and_without_a_row_is_data_loss(
    element: MemoryElement,
) -> None:
    file_id = await an_expired_file(element)
    element.memory.put(path_of(element.sidecar(file_id)), b"{")
    view = await element.lookup.find(file_id)
    assert view is not None
    assert view.cache_stale
    element.tables.files.clear()
    with pytest.raises(DataLoss):
        await element.lookup.find(file_id)


async def test_without_the_database_the_sidecar_answers(element: MemoryElement) -> None:
    file_id = await an_expired_file(element, description="kept")
    element.catalog.down = True
    view = await element.lookup.find(file_id)
    assert view is not None
    assert (view.sidecar.description, view.cache_stale) == ("kept", True)


async def test_what_cannot_be_written_back_is_answered_as_stale(element: MemoryElement) -> None:
    file_id = await an_expired_file(element, description="old")
    element.put_sidecar(updated(element.sidecar(file_id), {"description": "new"}, now()))
    element.catalog.fail("writes.commit_row", Unavailable("gone"))
    view = await element.lookup.find(file_id)
    assert view is not None
    assert (view.sidecar.description, view.cache_stale) == ("new", True)


async def test_a_pending_write_is_left_to_its_replay(element: MemoryElement) -> None:
    file_id = await an_expired_file(element, description="old")
    changed = updated(element.sidecar(file_id), {"description": "new"}, now())
    await element.catalog.pending.begin_write(
        file_id, path_of(changed), ChangeKind.UPDATED, by=BY_ALICE, revision=1
    )
    element.put_sidecar(changed)
    view = await element.lookup.find(file_id)
    assert view is not None
    assert (view.sidecar.description, view.cache_stale) == ("new", False)
    row = element.row(file_id)
    assert row is not None
    assert (row.sidecar.description, row.pending) == ("old", True)


async def test_however_many_ask_the_sidecar_is_read_once(element: MemoryElement) -> None:
    file_id = await an_expired_file(element)
    views = await asyncio.gather(*(element.lookup.find(file_id) for _ in range(20)))
    assert element.calls.made.count("read_sidecar") == element.lazy_lock.asked == 1
    assert not any(view is None or view.cache_stale for view in views)


async def test_a_change_that_comes_meanwhile_is_not_overwritten(element: MemoryElement) -> None:
    file_id = await an_expired_file(element, description="old")
    old = element.sidecar(file_id)
    element.put_sidecar(updated(old, {"description": "by hand"}, now()))
    committing = element.catalog.pause("writes.commit_row")
    asked = asyncio.create_task(element.lookup.find(file_id))
    await committing.reached.wait()
    row = element.tables.files[file_id]
    theirs = replace(row.sidecar, description="theirs")
    element.tables.files[file_id] = replace(row, sidecar=theirs, sequence=7)
    committing.go.set()
    view = await asked
    assert view is not None
    assert (view.sidecar.description, view.cache_stale) == ("by hand", True)
    assert element.tables.files[file_id].sidecar == theirs


async def test_a_refresh_that_a_rebuild_has_shut_out_writes_nothing(element: MemoryElement) -> None:
    file_id = await an_expired_file(element)
    reading = element.calls.pause("read_sidecar")
    asked = asyncio.create_task(element.lookup.find(file_id))
    await reading.reached.wait()
    await element.catalog.fences.raise_rebuild(1000)
    reading.go.set()
    view = await asked
    assert view is not None
    assert view.cache_stale
    row = element.row(file_id)
    assert row is not None
    assert row.cache_expired(now())


async def test_while_a_rebuild_has_the_element_the_old_answer_is_stale(
    element: MemoryElement,
) -> None:
    file_id = await an_expired_file(element)
    element.lazy_lock.error = Aborted("a rebuild has the element")
    for _ in range(2):
        view = await element.lookup.find(file_id)
        assert view is not None
        assert view.cache_stale
    assert element.calls.made == []
    element.lazy_lock.error = None
    view = await element.lookup.find(file_id)
    assert view is not None
    assert not view.cache_stale


async def test_a_lock_store_that_did_not_answer_is_not_asked_again_at_once(
    element: MemoryElement,
) -> None:
    file_id = await an_expired_file(element)
    element.lazy_lock.error = Unavailable("the lock store is down", reason="LOCKS_DOWN")
    for _ in range(3):
        view = await element.lookup.find(file_id)
        assert view is not None
        assert view.cache_stale
    assert element.lazy_lock.asked == 1


async def test_a_standby_answers_from_the_sidecar_and_writes_nothing(
    element: MemoryElement,
) -> None:
    file_id = await an_expired_file(element, description="old")
    element.put_sidecar(updated(element.sidecar(file_id), {"description": "new"}, now()))
    element.moves.lock_lost()
    view = await element.lookup.find(file_id)
    assert view is not None
    assert (view.sidecar.description, view.cache_stale) == ("new", False)
    row = element.row(file_id)
    assert row is not None
    assert row.sidecar.description == "old"
