"""What erasing a file leaves of it: a sidecar that says so, and nothing else, whatever breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import redis.exceptions

from mesh.elements.request_pins import pin_key
from mesh.errors import (
    Aborted,
    ArtStoreError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
)
from storage_server.domain.file_id import new_file_id
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.naming import erased_sidecar_path, sidecar_path
from storage_server.domain.origin import Cause, Origin
from storage_server.domain.sidecar import FileState, Sidecar, digest, encode
from storage_server.files.erasing import Erasure
from storage_server.sidecars.locate import locate
from storage_server.writing.view import FileView
from tests.support.memory_element import ALICE, MemoryElement, a_header
from tests.support.origins import BY_BOB

WORDS = ("secretname", "secretdescription", "secrettag", "secretvalue", "secretbytes", "request-7")
BY_ADMIN = Origin(Cause.CALLER, "admin", "call-1", "case 4711")
HEADER = {
    "original_filename": "secretname.pdf",
    "description": "secretdescription",
    "tags": ("secrettag",),
    "attributes": {"key": "secretvalue"},
    "request_id": "request-7",
}


class Killed(BaseException):
    """The process is no more."""


async def stored(element: MemoryElement) -> str:
    """A file that says all the words; its id."""
    view = await element.upload(b"secretbytes", **HEADER)
    return view.sidecar.file_id


async def erase(element: MemoryElement, file_id: str, **asked: str) -> FileView:
    return await element.erasing.erase(Erasure(file_id, BY_ADMIN, **asked))


def words_left(element: MemoryElement) -> list[str]:
    """Which of the words store and tables still say."""
    memory, tables = element.memory, element.tables
    said = repr(
        (
            memory.files,
            memory.stages,
            tables.files,
            tables.feed,
            tables.intents,
            tables.uploads,
        )
    )
    return [word for word in WORDS if word in said]


def require_erased(element: MemoryElement, file_id: str) -> None:
    assert words_left(element) == []
    path = erased_sidecar_path(file_id)
    assert element.paths() == {path}
    sidecar = element.sidecar(file_id)
    assert sidecar.state is FileState.ERASED
    assert (sidecar.updated_by, sidecar.description) == ("admin", "case 4711")
    row = element.row(file_id)
    assert row is not None
    assert (row.sidecar, row.blob_present, row.pending) == (sidecar, False, False)
    assert (element.tables.used_bytes, element.tables.file_count) == (0, 0)
    change = element.tables.feed[-1]
    assert (change.kind, change.origin) == (ChangeKind.ERASED, BY_ADMIN)


async def test_nothing_stays_of_an_erased_file_but_that_it_was() -> None:
    element = MemoryElement()
    file_id = await stored(element)
    view = await erase(element, file_id, namespace="other")
    assert (view.sidecar.file_id, view.sidecar.namespace) == (file_id, "default")
    require_erased(element, file_id)
    assert element.redis.deleted == [pin_key("alice", "request-7")]


async def test_an_erased_file_is_not_found_by_anybody() -> None:
    element = MemoryElement()
    file_id = await stored(element)
    await erase(element, file_id)
    calls = (
        element.lookup.get(file_id, ALICE),
        element.changes.update(file_id, {}, ALICE, by=BY_BOB, expected_revision=None),
        element.changes.delete(file_id, ALICE, by=BY_BOB, expected_revision=None),
        element.changes.undelete(file_id, ALICE, by=BY_BOB, expected_revision=None),
        element.changes.hold(file_id, True, ALICE, by=BY_BOB),
    )
    for call in calls:
        with pytest.raises(NotFound) as refused:
            await call
        assert refused.value.reason == "NOT_FOUND"


async def test_a_file_that_is_not_here_is_erased_as_well() -> None:
    element = MemoryElement()
    file_id = new_file_id(datetime.now(UTC))
    view = await erase(element, file_id, namespace="theirs", expected_digest="")
    assert (view.sidecar.namespace, view.sidecar.revision) == ("theirs", 1)
    require_erased(element, file_id)


async def test_erasing_again_is_answered_as_it_is() -> None:
    element = MemoryElement()
    file_id = await stored(element)
    first = await erase(element, file_id)
    sequence = element.tables.sequence
    again = await element.erasing.erase(
        Erasure(file_id, replace(BY_ADMIN, actor="other", reason="x"), expected_digest="00")
    )
    assert again.sidecar == first.sidecar
    assert element.tables.sequence == sequence


async def test_erasing_again_removes_what_has_come_back() -> None:
    element = MemoryElement()
    file_id = await stored(element)
    backup = dict(element.memory.files)
    await erase(element, file_id)
    for path, (content, _) in backup.items():
        if file_id in path:
            element.memory.put(path, content)
    assert (await locate(element.element.reading(), file_id)).sidecar.state is FileState.ERASED  # type: ignore[union-attr]
    await erase(element, file_id)
    require_erased(element, file_id)


async def test_a_held_file_is_not_erased() -> None:
    element = MemoryElement()
    file_id = await stored(element)
    await element.changes.hold(file_id, True, ALICE, by=BY_BOB)
    before = dict(element.memory.files)
    with pytest.raises(FailedPrecondition) as refused:
        await erase(element, file_id)
    assert refused.value.reason == "LEGAL_HOLD"
    assert element.memory.files == before
    assert not element.tables.intents
    await element.changes.hold(file_id, False, ALICE, by=BY_BOB)
    await erase(element, file_id)
    assert words_left(element) == []


async def test_another_sidecar_than_decided_on_is_not_erased() -> None:
    element = MemoryElement()
    file_id = await stored(element)
    with pytest.raises(Aborted) as refused:
        await erase(element, file_id, expected_digest="00" * 16)
    assert refused.value.reason == "REVISION_CONFLICT"
    await erase(element, file_id, expected_digest=digest(element.sidecar(file_id)).hex())
    assert words_left(element) == []


async def test_a_deleted_file_is_erased_and_gives_its_bytes_back_once() -> None:
    element = MemoryElement(keep_trash=False)
    other = await element.upload(b"12345678")
    file_id = await stored(element)
    await element.changes.delete(file_id, ALICE, by=BY_BOB, expected_revision=None)
    await erase(element, file_id)
    assert words_left(element) == []
    assert element.tables.used_bytes == other.sidecar.size_bytes


async def test_an_upload_in_one_stream_ends_when_its_file_is_erased() -> None:
    element = MemoryElement()
    begun = await element.begin(**HEADER)
    await begun.write(0, b"secretbytes", None)
    erasing = asyncio.create_task(erase(element, begun.file_id))
    error = await begun.interrupted
    assert isinstance(error, NotFound)
    await begun.discard()
    await erasing
    require_erased(element, begun.file_id)


@pytest.mark.parametrize("committed", [False, True])
async def test_a_resumable_upload_is_forgotten_with_its_file(committed: bool) -> None:
    element = MemoryElement()
    opened = await element.intake.start(a_header(**HEADER), ALICE)
    upload, writer = await element.resumable.writer(opened.upload_id, opened.token, ALICE)
    await upload.write(writer, 0, b"secretbytes", None)
    if committed:
        await element.resumable.commit(opened.upload_id, opened.token, ALICE, None, None, by=BY_BOB)
    file_id = upload.row.file_id
    await erase(element, file_id)
    require_erased(element, file_id)
    assert {*element.redis.deleted} == {pin_key("alice", "request-7")}
    with pytest.raises(NotFound):
        await element.resumable.commit(opened.upload_id, opened.token, ALICE, None, None, by=BY_BOB)
    with pytest.raises(NotFound):
        await element.resumable.progress(opened.upload_id, opened.token, ALICE)


async def test_a_damaged_sidecar_is_erased_by_what_the_row_says() -> None:
    element = MemoryElement()
    file_id = await stored(element)
    path = sidecar_path_of(element.sidecar(file_id))
    element.memory.put(path, b"{secretname")
    await erase(element, file_id)
    assert words_left(element) == []
    assert element.paths() == {erased_sidecar_path(file_id)}


async def test_what_is_no_id_is_refused() -> None:
    element = MemoryElement()
    for wrong in ("", "no id", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"):
        with pytest.raises(InvalidArgument):
            await erase(element, wrong)
    assert element.paths() == set()


async def test_redis_that_is_down_holds_up_the_end_and_nothing_else() -> None:
    element = MemoryElement()
    file_id = await stored(element)
    element.redis.error = redis.exceptions.ConnectionError()
    with pytest.raises(Unavailable):
        await erase(element, file_id)
    assert element.paths() == {erased_sidecar_path(file_id)}
    with pytest.raises(NotFound):
        await element.lookup.get(file_id, ALICE)
    element.redis.error = None
    later = restarted(element)
    await later.replay.all()
    assert words_left(later) == []
    assert later.redis.deleted == [pin_key("alice", "request-7")]


def restarted(element: MemoryElement) -> MemoryElement:
    return MemoryElement(element.memory, element.tables)


def sidecar_path_of(sidecar: Sidecar) -> str:
    return sidecar_path(sidecar.storage_path, sidecar.storage_filename)


def kill_at(element: MemoryElement, step: int, *, done: bool) -> Callable[[], bool]:
    """Kill the process at its call number `step`, before it is made or when it is done; whether it
    has come so far.
    """
    made = 0

    async def before(_: str) -> None:
        nonlocal made
        made += 1
        if made > step or (made == step and not done):
            raise Killed

    async def after(_: str) -> None:
        if made >= step:
            raise Killed

    for calls in (element.calls, element.catalog):
        calls.before, calls.after = before, after
    return lambda: made >= step


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
async def test_killed_at_any_call_it_ends_erased_or_as_if_never_begun(done: bool) -> None:
    steps = 0
    erased_after = []
    while True:
        steps += 1
        element = MemoryElement()
        file_id = await stored(element)
        before = set(element.paths())
        reached = kill_at(element, steps, done=done)
        with suppress(Killed, BaseExceptionGroup, ArtStoreError):
            await erase(element, file_id)
        if not reached():
            break
        later = restarted(element)
        await later.replay.all()
        sidecar = later.sidecar(file_id)
        assert not later.tables.intents, steps
        if sidecar.state is FileState.ERASED:
            require_erased(later, file_id)
            erased_after.append(steps)
        else:
            assert later.paths() == before, steps
            assert later.row(file_id).sidecar == sidecar, steps  # type: ignore[union-attr]
            assert (await later.lookup.get(file_id, ALICE)).sidecar == sidecar
        await erase(later, file_id)
        require_erased(later, file_id)
    assert steps > 10
    assert erased_after, "it was never killed in the midst"
    assert encode(element.sidecar(file_id)).count(b"secret") == 0
