"""What each state of a file answers to those who read it, change it, or ask as a server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from mesh.errors import ArtStoreError, FailedPrecondition, NotFound, Unavailable
from mesh.identity.caller import ALL_NAMESPACES, Caller, Role
from storage_server.domain.naming import blob_path
from storage_server.domain.sidecar import FileState, Sidecar
from tests.support.memory_element import ALICE, MemoryElement
from tests.support.origins import BY_ALICE
from tests.support.sidecars import AT
from tests.unit.storage.stepping import Pair

SERVER = Caller("query", Role.SERVICE, frozenset({ALL_NAMESPACES}))
STRANGER = Caller("bob", Role.USER, frozenset({"other"}), namespaces_write=frozenset({"other"}))
ADMIN_ITSELF = replace(SERVER, subject="admin", role=Role.ADMIN, from_admin=True)

COPY_OF_DELETED = "copy of a deleted home"
SET_ASIDE = "set aside"
READABLE = (FileState.ACTIVE, FileState.COPY, FileState.MOVED)
STATES = (*FileState, COPY_OF_DELETED, SET_ASIDE)


async def in_state(element: MemoryElement, state: str, **header: str) -> Sidecar:
    """A file whose sidecar was brought into that state."""
    sidecar = (await element.upload(**header)).sidecar
    fields: dict[str, Any] = {"state": FileState.COPY, "deleted_at": AT}
    if state == SET_ASIDE:
        fields["moved_to"] = "se-01"
    if state in tuple(FileState):
        fields = {"state": FileState(state)}
    if state in (FileState.MOVED, FileState.GONE):
        fields["moved_to"] = "se-02"
    sidecar = replace(sidecar, **fields)
    element.put_sidecar(sidecar)
    element.expire()
    return sidecar


async def refusal(asked: Awaitable[object]) -> ArtStoreError:
    with pytest.raises(ArtStoreError) as refused:
        await asked
    return refused.value


@pytest.mark.parametrize("state", STATES)
async def test_a_user_reads_a_home_a_copy_and_what_has_moved(
    element: MemoryElement, state: str
) -> None:
    sidecar = await in_state(element, state)
    many = element.lookup.get_many([sidecar.file_id], ALICE)
    if state in READABLE:
        assert (await element.lookup.get(sidecar.file_id, ALICE)).sidecar == sidecar
        assert [one.sidecar for one in (await many)[0]] == [sidecar]
        return
    assert (await many) == ([], [sidecar.file_id])
    refused = await refusal(element.lookup.get(sidecar.file_id, ALICE))
    assert isinstance(refused, NotFound)
    deleted = state in (FileState.DELETED, COPY_OF_DELETED)
    assert refused.reason == ("FILE_DELETED" if deleted else "NOT_FOUND")
    assert refused.metadata == ({"moved_to": "se-02"} if state == FileState.GONE else {})


@pytest.mark.parametrize("state", STATES)
async def test_a_user_who_asks_for_what_is_deleted_sees_no_other_state(
    element: MemoryElement, state: str
) -> None:
    sidecar = await in_state(element, state)
    asked = element.lookup.get(sidecar.file_id, ALICE, show_deleted=True)
    if state in (*READABLE, FileState.DELETED):
        assert (await asked).sidecar == sidecar
    else:
        assert isinstance(await refusal(asked), NotFound)


@pytest.mark.parametrize("server", [SERVER, ADMIN_ITSELF], ids=["server", "admin"])
@pytest.mark.parametrize("state", STATES)
async def test_a_server_that_asks_for_itself_is_told_of_every_state(
    element: MemoryElement, state: str, server: Caller
) -> None:
    sidecar = await in_state(element, state)
    view = await element.lookup.get(sidecar.file_id, server, show_deleted=True)
    assert view.sidecar == sidecar
    assert view.blob_present == (state not in (FileState.GONE, FileState.ERASED))
    found, missing = await element.lookup.get_many([sidecar.file_id], server, show_deleted=True)
    assert ([one.sidecar for one in found], missing) == ([sidecar], [])


async def test_a_server_is_told_what_the_sidecar_says_now(element: MemoryElement) -> None:
    """Admin's steps are conditional on it: a row that is behind would be decided by for ever."""
    sidecar = (await element.upload()).sidecar
    by_hand = replace(sidecar, revision=7)
    element.put_sidecar(by_hand)
    view = await element.lookup.get(sidecar.file_id, SERVER, show_deleted=True)
    assert view.sidecar == by_hand
    element.memory.files.pop(
        next(
            one for one in element.memory.files if one.endswith(".json") and sidecar.file_id in one
        )
    )
    gone = await refusal(element.lookup.get(sidecar.file_id, SERVER, show_deleted=True))
    assert isinstance(gone, NotFound)


async def test_a_server_is_told_whether_a_deleted_files_bytes_are_there(
    element: MemoryElement,
) -> None:
    sidecar = await in_state(element, FileState.DELETED)
    element.memory.files.pop(blob_path(sidecar.storage_path, sidecar.storage_filename))
    view = await element.lookup.get(sidecar.file_id, SERVER, show_deleted=True)
    assert not view.blob_present


CHANGES: dict[str, Callable[[MemoryElement, str, Caller], Awaitable[object]]] = {
    "update": lambda element, file_id, caller: element.changes.update(
        file_id, {"description": "new"}, caller, by=BY_ALICE, expected_revision=None
    ),
    "delete": lambda element, file_id, caller: element.changes.delete(
        file_id, caller, by=BY_ALICE, expected_revision=None
    ),
    "undelete": lambda element, file_id, caller: element.changes.undelete(
        file_id, caller, by=BY_ALICE, expected_revision=None
    ),
}
REFUSALS: dict[str, tuple[type[ArtStoreError], str, dict[str, str]]] = {
    FileState.MOVED: (FailedPrecondition, "MOVED", {"moved_to": "se-02"}),
    FileState.GONE: (FailedPrecondition, "MOVED", {"moved_to": "se-02"}),
    FileState.COPY: (FailedPrecondition, "NOT_HOME", {}),
    COPY_OF_DELETED: (FailedPrecondition, "NOT_HOME", {}),
    SET_ASIDE: (FailedPrecondition, "NOT_HOME", {}),
    FileState.INCOMING: (Unavailable, "SWITCHING", {}),
    FileState.ERASED: (NotFound, "NOT_FOUND", {}),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("state", REFUSALS)
async def test_what_is_no_home_is_not_changed(
    element: MemoryElement, state: str, change: str
) -> None:
    sidecar = await in_state(element, state)
    refused = await refusal(CHANGES[change](element, sidecar.file_id, ALICE))
    assert (type(refused), refused.reason, refused.metadata) == REFUSALS[state]
    assert element.sidecar(sidecar.file_id) == sidecar


@pytest.mark.parametrize("state", STATES)
async def test_whoever_may_not_read_a_namespace_learns_no_state(
    element: MemoryElement, state: str
) -> None:
    sidecar = await in_state(element, state)
    never = "019b7cc2-0000-7000-8000-000000000001"
    for ask in (
        lambda file_id: element.lookup.get(file_id, STRANGER, show_deleted=True),
        *(lambda file_id, c=c: CHANGES[c](element, file_id, STRANGER) for c in CHANGES),
    ):
        told, unknown = await refusal(ask(sidecar.file_id)), await refusal(ask(never))
        assert told.message.replace(sidecar.file_id, never) == unknown.message
        assert (told.reason, told.metadata) == (unknown.reason, unknown.metadata)


@pytest.mark.parametrize("state", STATES)
async def test_a_request_that_is_repeated_is_answered_with_its_file(
    element: MemoryElement, state: str
) -> None:
    sidecar = await in_state(element, state, request_id="r-1", description="a")
    if state == FileState.GONE:
        # A stub has forgotten the user's words.
        sidecar = replace(sidecar, description="")
        element.put_sidecar(sidecar)
    await element.lookup.find(sidecar.file_id)
    repeat = element.upload(request_id="r-1", description="a")
    if state in (FileState.DELETED, COPY_OF_DELETED, FileState.ERASED):
        refused = await refusal(repeat)
        assert isinstance(refused, NotFound)
        assert refused.metadata == {"file_id": sidecar.file_id}
    else:
        assert (await repeat).sidecar == sidecar


async def test_a_change_says_who_made_it_and_a_deletion_when(element: MemoryElement) -> None:
    file_id = (await element.upload()).sidecar.file_id
    assert element.sidecar(file_id).updated_by == ""
    await CHANGES["update"](element, file_id, ALICE)
    assert element.sidecar(file_id).updated_by == "alice"
    await CHANGES["delete"](element, file_id, ALICE)
    tombstone = element.sidecar(file_id)
    assert tombstone.deleted_at == tombstone.updated_at
    await CHANGES["undelete"](element, file_id, ALICE)
    assert element.sidecar(file_id).deleted_at is None


@pytest.mark.parametrize("server", [SERVER, ADMIN_ITSELF], ids=["server", "admin"])
async def test_a_server_is_not_told_that_a_file_is_nowhere_while_its_row_may_be_lost(
    server: Caller,
) -> None:
    pair = await Pair.adopted()
    sidecar = (await pair.pull()).sidecar
    element = pair.here

    async def asked() -> ArtStoreError:
        return await refusal(element.lookup.get(pair.file_id, server, show_deleted=True))

    rows = dict(element.tables.files)
    element.tables.files.clear()
    element.tables.complete = False
    assert isinstance(await asked(), Unavailable)
    element.tables.complete = True
    assert isinstance(await asked(), NotFound)
    element.tables.files.update(rows)
    element.catalog.down = True
    assert isinstance(await asked(), Unavailable)
    element.catalog.down = False
    assert (await element.lookup.get(pair.file_id, server, show_deleted=True)).sidecar == sidecar


WITH_BYTES = (FileState.ACTIVE, FileState.COPY, FileState.INCOMING, FileState.MOVED)


@pytest.mark.parametrize("state", [*WITH_BYTES, FileState.DELETED])
async def test_a_server_is_told_whether_the_bytes_are_there_and_whole(
    element: MemoryElement, state: FileState
) -> None:
    sidecar = await in_state(element, state)
    path = blob_path(sidecar.storage_path, sidecar.storage_filename)

    async def told() -> bool:
        return (await element.lookup.get(sidecar.file_id, SERVER, show_deleted=True)).blob_present

    assert await told()
    element.memory.put(path, b"hel")
    assert not await told()
    del element.memory.files[path]
    assert not await told()
    element.calls.fail("stat_blob", Unavailable("silent"))
    assert isinstance(await refusal(told()), Unavailable)
