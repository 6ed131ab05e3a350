"""Update, delete, undelete and hold: the sidecar decides, and each end leaves what it says."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from mesh.errors import (
    Aborted,
    ArtStoreError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    StoreReadOnly,
    Unavailable,
)
from mesh.identity.caller import Caller, Role
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.modes import Mode
from storage_server.domain.naming import blob_path
from storage_server.domain.sidecar import FileState, digest
from storage_server.domain.sidecar_changes import updated
from storage_server.writing.recording import SidecarUncertain
from storage_server.writing.view import FileView
from tests.support.memory_element import ALICE, MemoryElement
from tests.support.origins import BY_ALICE

SILENT = Unavailable("the store is silent", reason="STORAGE_DOWN")


async def a_file(element: MemoryElement, **header: str) -> str:
    return (await element.upload(**{"description": "old", **header})).sidecar.file_id


async def update(
    element: MemoryElement,
    file_id: str,
    description: str = "new",
    revision: int | None = None,
    caller: Caller = ALICE,
) -> FileView:
    return await element.changes.update(
        file_id, {"description": description}, caller, by=BY_ALICE, expected_revision=revision
    )


def nothing_changed(element: MemoryElement, file_id: str) -> bool:
    """Sidecar and row are of the upload, and no intent is left."""
    row = element.row(file_id)
    return (
        row is not None
        and row.sidecar == element.sidecar(file_id)
        and row.sidecar.revision == 1
        and not row.pending
    )


async def test_an_update_is_in_sidecar_row_and_feed(element: MemoryElement) -> None:
    file_id = await a_file(element)
    view = await update(element, file_id)
    assert (view.sidecar.description, view.sidecar.revision, view.sequence) == ("new", 2, 2)
    row = element.row(file_id)
    assert row is not None
    assert row.sidecar == element.sidecar(file_id) == view.sidecar
    assert not row.pending
    assert [one.kind for one in await element.catalog.feed.read(1)] == [ChangeKind.UPDATED]


async def test_the_revision_is_compared_with_the_sidecar_not_the_row(
    element: MemoryElement,
) -> None:
    file_id = await a_file(element)
    by_hand = updated(element.sidecar(file_id), {"version": "7"}, datetime.now(UTC))
    element.put_sidecar(by_hand)
    with pytest.raises(Aborted) as refused:
        await update(element, file_id, revision=1)
    assert (refused.value.reason, refused.value.metadata) == (
        "REVISION_CONFLICT",
        {"revision": "2"},
    )
    assert element.sidecar(file_id) == by_hand
    assert element.tables.intents == {}
    view = await update(element, file_id, revision=2)
    assert (view.sidecar.version, view.sidecar.revision) == ("7", 3)


async def test_of_updates_at_the_same_time_with_one_revision_one_wins(
    element: MemoryElement,
) -> None:
    file_id = await a_file(element)
    ends = await asyncio.gather(
        *(update(element, file_id, str(n), revision=1) for n in range(8)), return_exceptions=True
    )
    (won,) = [end for end in ends if isinstance(end, FileView)]
    refused = [end for end in ends if isinstance(end, Aborted)]
    assert len(refused) == 7
    assert element.sidecar(file_id) == won.sidecar


async def test_whoever_writes_the_sidecar_meanwhile_is_not_overwritten(
    element: MemoryElement,
) -> None:
    file_id = await a_file(element)
    intending = element.catalog.pause("pending.begin_write")
    asked = asyncio.create_task(update(element, file_id))
    await intending.reached.wait()
    theirs = updated(element.sidecar(file_id), {"description": "theirs"}, datetime.now(UTC))
    element.put_sidecar(theirs)
    intending.go.set()
    with pytest.raises(Aborted) as refused:
        await asked
    assert refused.value.reason == "REVISION_CONFLICT"
    assert element.sidecar(file_id) == theirs
    assert element.tables.intents == {}


async def test_a_deleted_file_is_a_tombstone_whose_bytes_wait(element: MemoryElement) -> None:
    file_id = await a_file(element)
    view = await element.changes.delete(file_id, ALICE, by=BY_ALICE, expected_revision=1)
    assert (view.sidecar.state, view.blob_present) == (FileState.DELETED, True)
    assert element.sidecar(file_id) == view.sidecar
    assert blob_path(view.sidecar.storage_path, view.sidecar.storage_filename) in element.paths()
    assert (element.tables.file_count, element.tables.used_bytes) == (0, 5)
    for again in (
        element.changes.delete(file_id, ALICE, by=BY_ALICE, expected_revision=None),
        update(element, file_id),
    ):
        with pytest.raises(NotFound):
            await again


async def test_without_trash_the_bytes_go_with_the_delete() -> None:
    element = MemoryElement(keep_trash=False)
    file_id = await a_file(element)
    view = await element.changes.delete(file_id, ALICE, by=BY_ALICE, expected_revision=None)
    assert not view.blob_present
    assert [path.endswith(".attr.json") for path in element.paths()] == [True]
    assert (element.tables.file_count, element.tables.used_bytes) == (0, 0)
    with pytest.raises(NotFound) as gone:
        await element.changes.undelete(file_id, ALICE, by=BY_ALICE, expected_revision=None)
    assert gone.value.reason == "BLOB_GONE"


async def test_an_undeleted_file_is_as_before_and_one_that_is_there_is_left_alone(
    element: MemoryElement,
) -> None:
    file_id = await a_file(element)
    await element.changes.delete(file_id, ALICE, by=BY_ALICE, expected_revision=None)
    view = await element.changes.undelete(file_id, ALICE, by=BY_ALICE, expected_revision=2)
    assert (view.sidecar.state, view.sidecar.revision) == (FileState.ACTIVE, 3)
    assert element.tables.file_count == 1
    again = await element.changes.undelete(file_id, ALICE, by=BY_ALICE, expected_revision=None)
    assert (again.sidecar, again.sequence) == (view.sidecar, view.sequence)
    assert element.tables.sequence == 3


async def test_a_held_file_is_not_deleted_and_no_update_lifts_the_hold(
    element: MemoryElement,
) -> None:
    file_id = await a_file(element)
    held = await element.changes.hold(file_id, True, ALICE, by=BY_ALICE)
    assert held.sidecar.legal_hold
    with pytest.raises(FailedPrecondition) as refused:
        await element.changes.delete(file_id, ALICE, by=BY_ALICE, expected_revision=None)
    assert refused.value.reason == "LEGAL_HOLD"
    with pytest.raises(InvalidArgument) as invalid:
        await element.changes.update(
            file_id, {"legal_hold": False}, ALICE, by=BY_ALICE, expected_revision=None
        )
    assert invalid.value.field == "file.legal_hold"
    assert element.sidecar(file_id) == held.sidecar
    assert element.tables.intents == {}
    lifted = await element.changes.hold(file_id, False, ALICE, by=BY_ALICE)
    assert not lifted.sidecar.legal_hold
    await element.changes.delete(file_id, ALICE, by=BY_ALICE, expected_revision=None)


async def test_a_hold_is_taken_on_the_sidecar_that_was_meant_and_only_once(
    element: MemoryElement,
) -> None:
    file_id = await a_file(element)
    meant = digest(element.sidecar(file_id)).hex()
    await update(element, file_id)
    with pytest.raises(Aborted) as refused:
        await element.changes.hold(file_id, True, ALICE, by=BY_ALICE, expected_digest=meant)
    assert refused.value.reason == "REVISION_CONFLICT"
    meant = digest(element.sidecar(file_id)).hex()
    held = await element.changes.hold(file_id, True, ALICE, by=BY_ALICE, expected_digest=meant)
    again = await element.changes.hold(file_id, True, ALICE, by=BY_ALICE, expected_digest=meant)
    assert (again.sidecar, again.sequence) == (held.sidecar, held.sequence)


async def test_a_hold_needs_no_mode_that_takes_updates(element: MemoryElement) -> None:
    file_id = await a_file(element)
    element.element.enter_mode(Mode.RO, 0)
    with pytest.raises(FailedPrecondition) as refused:
        await update(element, file_id)
    assert refused.value.reason == "MODE"
    assert (await element.changes.hold(file_id, True, ALICE, by=BY_ALICE)).sidecar.legal_hold


@pytest.mark.parametrize(
    ("reads", "writes", "error"), [((), (), NotFound), (("mine",), (), PermissionDenied)]
)
async def test_whom_the_file_is_not_for_changes_nothing(
    element: MemoryElement,
    reads: tuple[str, ...],
    writes: tuple[str, ...],
    error: type[ArtStoreError],
) -> None:
    file_id = await a_file(element, namespace="mine")
    caller = Caller("bob", Role.USER, frozenset(reads), frozenset(writes))
    with pytest.raises(error):
        await update(element, file_id, caller=caller)
    assert nothing_changed(element, file_id)


async def test_a_file_that_is_nowhere_is_not_found_and_an_unmounted_store_says_so(
    element: MemoryElement,
) -> None:
    file_id = await a_file(element)
    element.memory.files = {
        path: file for path, file in element.memory.files.items() if file_id not in path
    }
    with pytest.raises(NotFound):
        await update(element, file_id)
    element.memory.files.clear()
    with pytest.raises(Unavailable):
        await update(element, file_id)


@pytest.mark.parametrize("error", [SILENT, StoreReadOnly("read-only")])
async def test_a_lost_answer_of_the_store_is_found_out(
    element: MemoryElement, error: ArtStoreError
) -> None:
    file_id = await a_file(element)
    element.calls.lose_answer("write_sidecar", error)
    view = await update(element, file_id)
    assert view.sidecar.description == "new"
    assert element.sidecar(file_id) == view.sidecar
    assert element.tables.intents == {}


async def test_a_sidecar_of_which_it_is_open_keeps_its_intent_and_reads_as_expired(
    element: MemoryElement,
) -> None:
    file_id = await a_file(element)
    element.calls.fail("write_sidecar", SILENT)
    with pytest.raises(SidecarUncertain):
        await update(element, file_id)
    (intent,) = element.tables.intents.values()
    assert (intent.file_id, intent.kind) == (file_id, ChangeKind.UPDATED)
    row = element.row(file_id)
    assert row is not None
    assert row.cache_expired(datetime.now(UTC))
    element.calls.mend()
    view = await update(element, file_id, "newer", revision=1)
    assert (view.sidecar.description, view.sidecar.revision) == ("newer", 2)
    assert element.tables.intents == {}


async def test_a_store_that_refuses_leaves_the_file_and_no_intent(element: MemoryElement) -> None:
    file_id = await a_file(element)
    element.calls.fail("write_sidecar", StoreReadOnly("read-only"))
    with pytest.raises(StoreReadOnly):
        await update(element, file_id)
    assert nothing_changed(element, file_id)


async def test_a_database_that_takes_no_intent_leaves_the_sidecar_alone(
    element: MemoryElement,
) -> None:
    file_id = await a_file(element)
    element.catalog.fail("pending.begin_write", Unavailable("gone"))
    element.calls.made.clear()
    with pytest.raises(Unavailable):
        await update(element, file_id)
    assert nothing_changed(element, file_id)
    assert "write_sidecar" not in element.calls.made


async def test_a_row_that_waits_for_the_database_is_written_by_the_replay(
    element: MemoryElement,
) -> None:
    file_id = await a_file(element)
    element.catalog.fail("writes.commit_row", Unavailable("gone"))
    with pytest.raises(Unavailable) as waits:
        await update(element, file_id)
    assert (waits.value.reason, waits.value.metadata) == ("ROW_PENDING", {"file_id": file_id})
    assert element.sidecar(file_id).description == "new"
    element.catalog.mend()
    await element.replay.of_file(file_id)
    row = element.row(file_id)
    assert row is not None
    assert (row.sidecar.description, row.pending) == ("new", False)
    assert element.tables.file_count == 1


async def test_a_row_whose_answer_was_lost_is_counted_once(element: MemoryElement) -> None:
    file_id = await a_file(element)
    element.catalog.lose_answer("writes.commit_row", Unavailable("gone"))
    view = await element.changes.delete(file_id, ALICE, by=BY_ALICE, expected_revision=None)
    assert view.sidecar.state is FileState.DELETED
    assert element.tables.file_count == 0


async def test_a_caller_that_goes_away_does_not_stop_a_change(element: MemoryElement) -> None:
    file_id = await a_file(element)
    writing = element.calls.pause("write_sidecar")
    asked: asyncio.Task[Any] = asyncio.create_task(update(element, file_id))
    await writing.reached.wait()
    asked.cancel()
    await asyncio.wait([asked])
    writing.go.set()
    async with element.file_locks.hold(file_id):
        row = element.row(file_id)
    assert row is not None
    assert (row.sidecar.description, row.pending) == ("new", False)
