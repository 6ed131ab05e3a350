"""What the feed tells of who changed a file: each change once as its caller's, whoever told it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mesh.errors import Aborted, NotFound, PermissionDenied, Unavailable
from mesh.identity.caller import Caller
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.origin import OF_REPAIR, Cause, Origin
from storage_server.domain.sidecar import digest
from storage_server.domain.sidecar_changes import updated
from storage_server.store.port import SIDECAR_SUFFIX
from storage_server.writing.protocol import HeldFile
from storage_server.writing.recording import SidecarUncertain
from storage_server.writing.replay import Replay
from tests.support.memory_element import ALICE, LONG_AGO, MemoryElement, a_header
from tests.support.memory_store import MemoryStore
from tests.support.origins import BY_ALICE, BY_BOB
from tests.unit.storage.resumable import late_sidecar

Told = list[tuple[int | None, Origin | None]]
Arrival = Callable[[], None]
SILENT = Unavailable("the store is silent", reason="STORAGE_DOWN")


async def told(element: MemoryElement) -> Told:
    """Revision and origin of every entry, oldest first."""
    return [(one.revision, one.origin) for one in await element.catalog.feed.read(0)]


async def update(element: MemoryElement, file_id: str, description: str, by: Origin) -> None:
    await element.changes.update(
        file_id, {"description": description}, ALICE, by=by, expected_revision=None
    )


async def an_update_without_a_row(element: MemoryElement, file_id: str, by: Origin) -> None:
    element.catalog.fail("writes.commit_row", Unavailable("gone"))
    with pytest.raises(Unavailable):
        await update(element, file_id, "waits", by)
    element.catalog.mend()


async def an_update_that_was_not_heard_of(element: MemoryElement, file_id: str, by: Origin) -> None:
    element.calls.fail("write_sidecar", Unavailable("the store is silent"))
    with pytest.raises(SidecarUncertain):
        await update(element, file_id, "lost", by)
    element.calls.mend()


async def a_file(element: MemoryElement) -> str:
    return (await element.upload()).sidecar.file_id


async def test_each_kind_of_change_is_told_with_its_caller(element: MemoryElement) -> None:
    file_id = await a_file(element)
    held = Origin(Cause.CALLER, "carol", "call-3", "case 7")
    await update(element, file_id, "new", BY_BOB)
    await element.changes.hold(file_id, True, ALICE, by=held)
    await element.changes.hold(file_id, True, ALICE, by=BY_ALICE)
    await element.changes.hold(file_id, False, ALICE, by=held)
    await element.changes.delete(file_id, ALICE, by=BY_ALICE, expected_revision=None)
    await element.changes.undelete(file_id, ALICE, by=BY_BOB, expected_revision=None)
    origins = [BY_ALICE, BY_BOB, held, held, BY_ALICE, BY_BOB]
    assert await told(element) == list(enumerate(origins, start=1))


async def test_a_change_tells_the_one_before_that_waits_for_its_row(
    element: MemoryElement,
) -> None:
    file_id = await a_file(element)
    await an_update_without_a_row(element, file_id, BY_BOB)
    await update(element, file_id, "new", BY_ALICE)
    assert await told(element) == [(1, BY_ALICE), (2, BY_BOB), (3, BY_ALICE)]


@pytest.mark.parametrize("change", ["update", "hold", "delete"])
async def test_a_change_behind_a_write_whose_row_still_waits_says_that_it_was_not_made(
    element: MemoryElement, change: str
) -> None:
    file_id = await a_file(element)
    await an_update_without_a_row(element, file_id, BY_BOB)
    element.catalog.fail("writes.commit_row", Unavailable("gone"))
    changes = {
        "update": lambda: update(element, file_id, "new", BY_ALICE),
        "hold": lambda: element.changes.hold(file_id, True, ALICE, by=BY_ALICE),
        "delete": lambda: element.changes.delete(
            file_id, ALICE, by=BY_ALICE, expected_revision=None
        ),
    }
    with pytest.raises(Unavailable) as refused:
        await changes[change]()
    assert refused.value.reason == "DATABASE_DOWN"
    assert "nothing was done" in refused.value.message
    assert [one.origin for one in element.tables.intents.values()] == [BY_BOB]
    assert element.sidecar(file_id).description == "waits"


async def test_an_undelete_behind_a_delete_whose_row_still_waits_says_that_it_was_not_made(
    element: MemoryElement,
) -> None:
    file_id = await a_file(element)
    element.catalog.fail("writes.commit_row", Unavailable("gone"))
    with pytest.raises(Unavailable):
        await element.changes.delete(file_id, ALICE, by=BY_BOB, expected_revision=None)
    with pytest.raises(Unavailable) as refused:
        await element.changes.undelete(file_id, ALICE, by=BY_ALICE, expected_revision=None)
    assert refused.value.reason == "DATABASE_DOWN"
    assert element.sidecar(file_id).revision == 2


async def test_an_upload_with_the_request_id_of_one_that_waits_does_not_pass_for_it(
    element: MemoryElement,
) -> None:
    element.catalog.fail("writes.commit_row", Unavailable("gone"))
    with pytest.raises(Unavailable):
        await element.upload(request_id="r-1")
    bob = replace(ALICE, subject="bob")
    with pytest.raises(Unavailable) as refused:
        await element.intake.begin(a_header(request_id="r-1"), bob, by=BY_BOB)
    assert (refused.value.reason, refused.value.metadata) == ("DATABASE_DOWN", {})


@pytest.mark.parametrize(
    ("stranger", "error"),
    [
        (replace(ALICE, namespaces_read=frozenset(), namespaces_write=frozenset()), NotFound),
        (replace(ALICE, namespaces_write=frozenset()), PermissionDenied),
    ],
)
async def test_who_may_not_change_a_file_has_nothing_of_it_replayed(
    element: MemoryElement, stranger: Caller, error: type[Exception]
) -> None:
    file_id = await a_file(element)
    await an_update_without_a_row(element, file_id, BY_BOB)
    element.catalog.fail("writes.commit_row", Unavailable("gone"))
    with pytest.raises(error):
        await element.changes.delete(file_id, stranger, by=BY_ALICE, expected_revision=None)
    element.catalog.mend()
    with pytest.raises(error):
        await element.changes.delete(file_id, stranger, by=BY_ALICE, expected_revision=None)
    assert len(element.tables.intents) == 1


async def test_a_file_that_is_nowhere_is_not_found_whatever_waits(element: MemoryElement) -> None:
    file_id = await a_file(element)
    await an_update_without_a_row(element, file_id, BY_BOB)
    (path,) = [one for one in element.memory.files if one.endswith(SIDECAR_SUFFIX)]
    del element.memory.files[path]
    element.catalog.fail("pending.list", Unavailable("gone"))
    with pytest.raises(NotFound):
        await update(element, file_id, "new", BY_ALICE)


async def test_a_change_tells_an_upload_that_waits_for_its_row(element: MemoryElement) -> None:
    element.catalog.fail("writes.commit_row", Unavailable("gone"))
    with pytest.raises(Unavailable):
        await element.upload()
    element.catalog.mend()
    (intent,) = element.tables.intents.values()
    await update(element, intent.file_id, "new", BY_BOB)
    assert await told(element) == [(1, BY_ALICE), (2, BY_BOB)]


async def test_a_change_that_was_not_made_is_nobodys(element: MemoryElement) -> None:
    file_id = await a_file(element)
    await an_update_that_was_not_heard_of(element, file_id, BY_BOB)
    await update(element, file_id, "new", BY_ALICE)
    assert await told(element) == [(1, BY_ALICE), (2, BY_ALICE)]


async def test_of_two_that_meant_the_same_revision_the_one_that_wrote_it_is_told(
    element: MemoryElement, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_id = await a_file(element)
    await an_update_that_was_not_heard_of(element, file_id, BY_BOB)
    await an_update_without_a_row(element, file_id, BY_ALICE)
    monkeypatch.setattr("storage_server.writing.replay.LANDING_TIME", timedelta(0))
    await element.replay.all()
    assert await told(element) == [(1, BY_ALICE), (2, BY_ALICE)]


async def test_an_old_intent_does_not_end_one_whose_sidecar_may_still_arrive(
    element: MemoryElement,
) -> None:
    file_id = await a_file(element)
    for by in (BY_BOB, BY_ALICE):
        await an_update_that_was_not_heard_of(element, file_id, by)
    old, late = element.tables.intents.values()
    meant = late.origin
    element.tables.intents[old.pending_id] = replace(old, created_at=LONG_AGO)
    await element.replay.all()
    assert [one.origin for one in element.tables.intents.values()] == [BY_BOB, meant]
    assert await told(element) == [(1, BY_ALICE)]


async def test_an_intent_that_came_to_nothing_is_told_as_a_repair(
    element: MemoryElement, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_id = await a_file(element)
    await an_update_that_was_not_heard_of(element, file_id, BY_BOB)
    monkeypatch.setattr("storage_server.writing.replay.LANDING_TIME", timedelta(0))
    await element.replay.all()
    assert await told(element) == [(1, BY_ALICE), (1, OF_REPAIR)]


async def test_a_row_whose_answer_was_lost_is_told_as_a_change_once(
    element: MemoryElement,
) -> None:
    file_id = await a_file(element)
    element.catalog.lose_answer("writes.commit_row", Unavailable("gone"))
    await update(element, file_id, "new", BY_BOB)
    assert await told(element) == [(1, BY_ALICE), (2, BY_BOB), (2, OF_REPAIR)]


async def test_what_a_refresh_finds_is_a_repair(element: MemoryElement) -> None:
    file_id = await a_file(element)
    by_hand = updated(element.sidecar(file_id), {"description": "by hand"}, datetime.now(UTC))
    element.put_sidecar(by_hand)
    element.expire()
    await element.lookup.find(file_id)
    del element.tables.files[file_id]
    await element.lookup.find(file_id)
    assert await told(element) == [(1, BY_ALICE), (2, OF_REPAIR), (2, OF_REPAIR)]


async def test_a_refresh_that_ends_an_upload_tells_it_as_the_uploaders(
    element: MemoryElement,
) -> None:
    element.catalog.fail("writes.commit_row", Unavailable("gone"))
    with pytest.raises(Unavailable):
        await element.upload()
    element.catalog.mend()
    (intent,) = element.tables.intents.values()
    await element.lookup.find(intent.file_id)
    assert element.tables.intents == {}
    assert await told(element) == [(1, BY_ALICE)]


async def test_a_write_of_an_earlier_version_is_told_without_an_origin(
    element: MemoryElement,
) -> None:
    file_id = await a_file(element)
    await an_update_without_a_row(element, file_id, BY_BOB)
    ((number, intent),) = element.tables.intents.items()
    element.tables.intents[number] = replace(intent, revision=None, digest=None, origin=None)
    await element.replay.all()
    assert await told(element) == [(1, BY_ALICE), (2, None)]


async def test_a_resumed_upload_is_of_who_commits_it(element: MemoryElement) -> None:
    opened = await element.intake.start(a_header(), ALICE)
    await element.resumable.commit(opened.upload_id, opened.token, ALICE, 0, None, by=BY_BOB)
    assert await told(element) == [(1, BY_BOB)]


async def test_an_upload_that_arrives_after_its_abort_is_of_who_committed_it(
    element: MemoryElement,
) -> None:
    opened = await element.intake.start(a_header(), ALICE)
    arrives = await late_sidecar(element, opened, by=BY_BOB)
    await element.resumable.abort(opened.upload_id, opened.token, ALICE)
    arrives()
    await element.replay.all()
    assert await told(element) == [(1, BY_BOB)]


async def test_an_upload_that_arrives_late_is_not_of_who_tried_after_and_sent_nothing(
    element: MemoryElement,
) -> None:
    opened = await element.intake.start(a_header(), ALICE)
    arrives = await late_sidecar(element, opened, by=BY_BOB)
    element.calls.fail("stage.place", SILENT)
    with pytest.raises(Unavailable):
        await element.resumable.commit(opened.upload_id, opened.token, ALICE, 0, None, by=BY_ALICE)
    element.calls.mend()
    arrives()
    await element.replay.all()
    assert await told(element) == [(1, BY_BOB)]


async def test_a_change_that_arrives_while_the_next_one_begins_is_told_before_it(
    element: MemoryElement, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_id = await a_file(element)
    await an_update_that_was_not_heard_of(element, file_id, BY_BOB)
    meant = updated(element.sidecar(file_id), {"description": "lost"}, datetime.now(UTC))
    (number,) = element.tables.intents
    element.tables.intents[number] = replace(element.tables.intents[number], digest=digest(meant))
    replay = Replay.before_change

    async def arrives_just_after(self: Replay, held: HeldFile, file_id: str) -> bool:
        replayed = await replay(self, held, file_id)
        element.put_sidecar(meant)
        return replayed

    monkeypatch.setattr(Replay, "before_change", arrives_just_after)
    with pytest.raises(Aborted):
        await update(element, file_id, "new", BY_ALICE)
    monkeypatch.undo()
    await update(element, file_id, "new", BY_ALICE)
    assert await told(element) == [(1, BY_ALICE), (2, BY_BOB), (3, BY_ALICE)]


async def test_a_change_that_arrives_while_the_next_one_begins_is_seen_without_conditional_put_too(
    element: MemoryElement, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryStore, "conditional_put", False)
    file_id = await a_file(element)
    await an_update_that_was_not_heard_of(element, file_id, BY_BOB)
    meant = updated(element.sidecar(file_id), {"description": "lost"}, datetime.now(UTC))
    (number,) = element.tables.intents
    element.tables.intents[number] = replace(element.tables.intents[number], digest=digest(meant))
    replay = Replay.before_change

    async def arrives_just_before(self: Replay, held: HeldFile, file_id: str) -> bool:
        element.put_sidecar(meant)
        return await replay(self, held, file_id)

    monkeypatch.setattr(Replay, "before_change", arrives_just_before)
    with pytest.raises(Aborted) as refused:
        await update(element, file_id, "new", BY_ALICE)
    assert refused.value.reason == "REVISION_CONFLICT"
    await update(element, file_id, "new", BY_ALICE)
    assert await told(element) == [(1, BY_ALICE), (2, BY_BOB), (3, BY_ALICE)]


@pytest.mark.parametrize("intended", [ChangeKind.CREATED, ChangeKind.DELETED, ChangeKind.UNDELETED])
@pytest.mark.parametrize("row_is_lost", [False, True])
async def test_a_sidecar_that_no_write_on_record_has_written_is_told_as_a_repairs(
    element: MemoryElement, intended: ChangeKind, row_is_lost: bool
) -> None:
    file_id = await a_file(element)
    await element.catalog.pending.begin_write(
        file_id, "path", intended, by=BY_BOB, revision=7, digest=b"of another"
    )
    edited = updated(element.sidecar(file_id), {"description": "by hand"}, LONG_AGO)
    element.put_sidecar(edited)
    if row_is_lost:
        element.tables.files.clear()
    restarted = MemoryElement(element.memory, element.tables)
    await restarted.replay.all()
    change = element.tables.feed[-1]
    assert element.tables.intents == {}
    assert change.kind is (ChangeKind.CREATED if row_is_lost else ChangeKind.UPDATED)
    assert (change.revision, change.origin) == (edited.revision, OF_REPAIR)
