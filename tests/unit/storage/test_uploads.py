"""Uploads in one stream: what a chunk, an end and a repeat come to."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import google_crc32c
import pytest

from mesh.contract import MAX_CHUNK_BYTES
from mesh.errors import (
    Aborted,
    AlreadyExists,
    ArtStoreError,
    DataLoss,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    ResourceExhausted,
    StoreReadOnly,
    Unavailable,
)
from mesh.identity.caller import Caller, Role
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.naming import blob_path
from storage_server.uploads.intake import Repeated
from storage_server.uploads.streamed import StreamedUpload
from storage_server.writing.recording import SidecarUncertain
from storage_server.writing.view import FileView
from tests.support.memory_element import ALICE, MemoryElement, a_header, path_of
from tests.support.origins import BY_ALICE

SILENT = Unavailable("the store is silent", reason="STORAGE_DOWN")
LOST = Unavailable("gone")


def leaves_nothing(element: MemoryElement) -> bool:
    return (
        element.paths() == set()
        and element.tables.files == {}
        and element.tables.intents == {}
        and element.space.reserved_bytes == 0
        and element.intake.running == frozenset()
    )


async def test_a_file_is_its_blob_its_sidecar_and_its_row(element: MemoryElement) -> None:
    view = await element.upload(b"hello", description="kept")
    sidecar = view.sidecar
    assert (sidecar.size_bytes, sidecar.created_by) == (5, "alice")
    assert sidecar.sha256 == hashlib.sha256(b"hello").hexdigest()
    blob = blob_path(sidecar.storage_path, sidecar.storage_filename)
    assert element.paths() == {blob, path_of(sidecar)}
    assert element.memory.files[blob][0] == b"hello"
    row = element.row(sidecar.file_id)
    assert row is not None
    assert (row.sidecar, row.pending) == (sidecar, False)
    assert element.sidecar(sidecar.file_id) == sidecar
    assert (element.tables.file_count, element.tables.used_bytes) == (1, 5)


async def test_chunks_follow_each_other_without_a_gap_or_a_repeat(element: MemoryElement) -> None:
    upload = await element.begin()
    await upload.write(0, b"abc", google_crc32c.value(b"abc"))
    for offset in (0, 2, 4):
        with pytest.raises(OutOfRange) as gap:
            await upload.write(offset, b"x", None)
        assert (gap.value.reason, gap.value.metadata) == ("GAP", {"expected_offset": "3"})
    await upload.write(3, b"def", None)
    view = await upload.finish(6, hashlib.sha256(b"abcdef").hexdigest())
    assert view.sidecar.size_bytes == 6


@pytest.mark.parametrize(
    ("data", "crc32c", "error", "reason"),
    [
        (b"abc", 1, DataLoss, "CHECKSUM_MISMATCH"),
        (b"x" * (MAX_CHUNK_BYTES + 1), None, ResourceExhausted, "CHUNK_TOO_LARGE"),
        (b"more than five", None, DataLoss, "SIZE_MISMATCH"),
    ],
)
async def test_a_chunk_that_cannot_be_right_is_refused(
    element: MemoryElement,
    data: bytes,
    crc32c: int | None,
    error: type[ArtStoreError],
    reason: str,
) -> None:
    upload = await element.begin(size_bytes=5)
    with pytest.raises(error) as refused:
        await upload.write(0, data, crc32c)
    assert refused.value.reason == reason
    await upload.discard()
    assert leaves_nothing(element)


@pytest.mark.parametrize(
    ("header", "finish", "reason"),
    [
        ({"size_bytes": 6}, (None, None), "SIZE_MISMATCH"),
        ({}, (4, None), "SIZE_MISMATCH"),
        ({"sha256": "0" * 64}, (None, None), "CHECKSUM_MISMATCH"),
        ({}, (5, "0" * 64), "CHECKSUM_MISMATCH"),
    ],
)
async def test_bytes_that_are_not_the_declared_ones_make_no_file(
    element: MemoryElement, header: dict[str, Any], finish: tuple[Any, Any], reason: str
) -> None:
    upload = await element.begin(**header)
    await upload.write(0, b"hello", None)
    with pytest.raises(DataLoss) as refused:
        await upload.finish(*finish)
    assert refused.value.reason == reason
    assert leaves_nothing(element)


async def test_an_upload_that_is_given_up_leaves_nothing(element: MemoryElement) -> None:
    upload = await element.begin()
    await upload.write(0, b"hello", None)
    assert element.space.reserved_bytes > 0
    await upload.discard()
    await upload.discard()
    assert leaves_nothing(element)


async def test_a_caller_that_goes_away_while_the_file_is_made_does_not_stop_it(
    element: MemoryElement,
) -> None:
    upload = await element.begin()
    await upload.write(0, b"hello", None)
    placing = element.calls.pause("stage.place")
    ending: asyncio.Task[Any] = asyncio.create_task(upload.finish(None, None))
    await placing.reached.wait()
    ending.cancel()
    await asyncio.wait([ending])
    await upload.discard()
    placing.go.set()
    await upload.until_over()
    async with element.file_locks.hold(upload.file_id):
        assert element.row(upload.file_id) is not None


async def test_room_is_held_while_it_runs_and_refused_beyond_the_capacity() -> None:
    element = MemoryElement(capacity_bytes=1000)
    with pytest.raises(ResourceExhausted):
        await element.begin(size_bytes=1001)
    upload = await element.begin(size_bytes=600)
    assert element.space.reserved_bytes == 600
    with pytest.raises(ResourceExhausted):
        await element.begin(size_bytes=600)
    await upload.discard()
    await (await element.begin(size_bytes=600)).discard()
    assert leaves_nothing(element)


async def test_whoever_may_not_write_there_begins_nothing(element: MemoryElement) -> None:
    bob = Caller("bob", Role.USER, frozenset({"*"}), frozenset({"his"}))
    with pytest.raises(PermissionDenied):
        await element.intake.begin(a_header(), bob, by=BY_ALICE)
    with pytest.raises(InvalidArgument):
        await element.intake.begin(a_header(size_bytes=-1), bob, by=BY_ALICE)
    assert leaves_nothing(element)


async def test_without_the_database_no_upload_begins(element: MemoryElement) -> None:
    element.catalog.down = True
    with pytest.raises(Unavailable):
        await element.begin()
    assert leaves_nothing(element)


async def test_a_store_that_takes_no_writes_ends_the_upload(element: MemoryElement) -> None:
    upload = await element.begin()
    element.element.note_write(StoreReadOnly("read-only"))
    with pytest.raises(StoreReadOnly):
        await upload.write(0, b"hello", None)
    with pytest.raises(StoreReadOnly):
        await upload.finish(None, None)
    assert leaves_nothing(element)


# --- repeats -----------------------------------------------------------------------------


async def test_a_repeat_answers_the_first_file_and_another_account_has_its_own(
    element: MemoryElement,
) -> None:
    first = await element.upload(b"hello", request_id="r-1")
    again = await element.upload(b"hello", request_id="r-1")
    assert (again.sidecar, again.sequence) == (first.sidecar, first.sequence)
    bob = Caller("bob", Role.USER, frozenset({"*"}), frozenset({"*"}))
    other = await element.intake.begin(a_header(request_id="r-1"), bob, by=BY_ALICE)
    assert isinstance(other, StreamedUpload)


async def test_a_repeat_with_another_header_is_refused(element: MemoryElement) -> None:
    running = await element.begin(request_id="r-1")
    with pytest.raises(AlreadyExists):
        await element.begin(request_id="r-1", description="other")
    await running.finish(None, None)
    with pytest.raises(AlreadyExists):
        await element.begin(request_id="r-1", description="other")
    assert len(element.tables.files) == 1


async def test_a_repeat_for_a_file_deleted_since_is_not_found(element: MemoryElement) -> None:
    file_id = (await element.upload(request_id="r-1")).sidecar.file_id
    await element.changes.delete(file_id, ALICE, by=BY_ALICE, expected_revision=None)
    with pytest.raises(NotFound) as deleted:
        await element.upload(request_id="r-1")
    assert (deleted.value.reason, deleted.value.metadata) == (
        "FILE_DELETED",
        {"file_id": file_id},
    )


async def test_a_repeat_takes_over_the_stream_that_is_running(element: MemoryElement) -> None:
    first = await element.begin(request_id="r-1")
    await first.write(0, b"half", None)
    repeat = asyncio.create_task(element.begin(request_id="r-1"))
    error = await first.interrupted
    assert isinstance(error, Aborted)
    assert error.reason == "TAKEN_OVER"
    with pytest.raises(Aborted):
        await first.write(4, b"x", None)
    assert not repeat.done()
    await first.discard()
    second = await repeat
    await second.write(0, b"whole", None)
    await second.finish(None, None)
    assert [row.sidecar.size_bytes for row in element.tables.files.values()] == [5]


async def test_repeats_at_the_same_time_make_one_file(element: MemoryElement) -> None:
    async def send() -> FileView:
        begun = await element.intake.begin(a_header(request_id="r-1"), ALICE, by=BY_ALICE)
        if isinstance(begun, Repeated):
            return begun.view
        try:
            await begun.write(0, b"hello", None)
            return await begun.finish(None, None)
        finally:
            await begun.discard()

    ends = await asyncio.gather(*(send() for _ in range(8)), return_exceptions=True)
    assert all(isinstance(end, (FileView, Aborted)) for end in ends)
    assert len(element.tables.files) == 1
    assert {end.sidecar.file_id for end in ends if isinstance(end, FileView)} == set(
        element.tables.files
    )


async def test_a_repeat_after_a_crash_before_the_row_answers_that_file(
    element: MemoryElement,
) -> None:
    element.catalog.fail("writes.commit_row", LOST)
    with pytest.raises(Unavailable) as waits:
        await element.upload(b"hello", request_id="r-1")
    assert waits.value.reason == "ROW_PENDING"
    after = MemoryElement(element.memory, element.tables)
    again = await after.upload(b"hello", request_id="r-1")
    assert again.sidecar.file_id == waits.value.metadata["file_id"]
    assert (after.tables.file_count, len(after.tables.files)) == (1, 1)


# --- trouble on the way to a file --------------------------------------------------------


@pytest.mark.parametrize("step", ["stage.seal", "stage.place"])
async def test_a_store_that_fails_before_the_sidecar_leaves_no_file(
    element: MemoryElement, step: str
) -> None:
    element.calls.fail(step, ResourceExhausted("full"))
    with pytest.raises(ResourceExhausted):
        await element.upload()
    assert leaves_nothing(element)


async def test_a_store_that_falls_silent_leaves_an_intent_that_looks_again(
    element: MemoryElement,
) -> None:
    element.calls.fail("stage.seal", SILENT)
    with pytest.raises(Unavailable):
        await element.upload()
    assert element.paths() == set()
    (intent,) = element.tables.intents.values()
    assert intent.kind is ChangeKind.CREATED
    assert element.space.reserved_bytes == 0


async def test_a_sidecar_of_which_it_is_open_keeps_blob_and_intent_for_the_replay(
    element: MemoryElement,
) -> None:
    element.calls.fail("read_sidecar", SILENT)
    element.calls.lose_answer("write_sidecar", SILENT)
    with pytest.raises(SidecarUncertain):
        await element.upload(request_id="r-1")
    assert len(element.paths()) == 2
    assert element.tables.files == {}
    element.calls.mend()
    await element.replay.all()
    (row,) = element.tables.files.values()
    assert row.sidecar.request_id == "r-1"
    assert element.tables.intents == {}
    assert element.tables.file_count == 1


async def test_after_a_start_the_blob_of_a_file_that_never_was_is_removed(
    element: MemoryElement,
) -> None:
    element.calls.fail("write_sidecar", SILENT)
    with pytest.raises(SidecarUncertain):
        await element.upload()
    assert len(element.paths()) == 1
    after = MemoryElement(element.memory, element.tables)
    await after.replay.all()
    assert leaves_nothing(after)


async def test_an_intent_is_on_record_before_anything_is_in_place(element: MemoryElement) -> None:
    order: list[str] = []
    for calls in (element.calls, element.catalog):

        async def note(name: str) -> None:
            order.append(name)

        calls.before = note
    await element.upload()
    steps = ["pending.begin_write", "stage.seal", "stage.place", "write_sidecar"]
    steps.append("writes.commit_row")
    assert [name for name in order if name in steps] == steps
