"""Resumable uploads: what is kept of them, who writes them, and how they end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mesh.errors import (
    Aborted,
    AlreadyExists,
    ArtStoreError,
    DataLoss,
    FailedPrecondition,
    NotFound,
    OutOfRange,
    PermissionDenied,
    StoreReadOnly,
)
from storage_server.domain.sidecar import FileState
from tests.support.memory_element import ALICE, MemoryElement
from tests.support.origins import BY_ALICE
from tests.unit.storage.resumable import (
    abort,
    blobs,
    commit,
    leaves_nothing,
    progress,
    start,
    write,
)


async def test_what_was_written_becomes_a_file_once(element: MemoryElement) -> None:
    opened = await start(element, description="kept")
    assert await write(element, opened, b"abc") == 3
    assert await write(element, opened, b"def", 3) == 6
    view = await commit(element, opened, 6)
    assert (view.sidecar.size_bytes, view.sidecar.description) == (6, "kept")
    assert blobs(element) == [b"abcdef"]
    again = await commit(element, opened)
    assert (again.sidecar, again.sequence) == (view.sidecar, view.sequence)
    assert await element.resumable.progress(opened.upload_id, opened.token, ALICE) == (6, again)
    with pytest.raises(FailedPrecondition) as committed:
        await write(element, opened, b"more", 6)
    assert committed.value.reason == "COMMITTED"
    assert (element.tables.file_count, element.space.reserved_bytes) == (1, 6)


async def test_a_gap_is_refused_and_says_where_to_go_on(element: MemoryElement) -> None:
    opened = await start(element)
    await write(element, opened, b"abc")
    with pytest.raises(OutOfRange) as gap:
        await write(element, opened, b"x", 4)
    assert (gap.value.reason, gap.value.metadata) == ("GAP", {"expected_offset": "3"})
    assert await progress(element, opened) == 3


async def test_what_is_there_may_be_sent_again_and_counts_once(element: MemoryElement) -> None:
    opened = await start(element)
    await write(element, opened, b"abc")
    assert await write(element, opened, b"abc") == 3
    assert await write(element, opened, b"bcde", 1) == 5
    await commit(element, opened, 5)
    assert blobs(element) == [b"abcde"]


async def test_a_newer_stream_takes_the_upload_over(element: MemoryElement) -> None:
    opened = await start(element)
    upload, first = await element.resumable.writer(opened.upload_id, opened.token, ALICE)
    await upload.write(first, 0, b"abc", None)
    _, second = await element.resumable.writer(opened.upload_id, opened.token, ALICE)
    assert isinstance(await first.interrupted, Aborted)
    for late in (upload.write(first, 3, b"x", None), upload.end(first)):
        with pytest.raises(Aborted) as taken:
            await late
        assert taken.value.reason == "TAKEN_OVER"
    await upload.write(second, 3, b"def", None)
    assert await upload.end(second) == 6


async def test_a_commit_ends_the_stream_that_is_writing(element: MemoryElement) -> None:
    opened = await start(element)
    upload, writer = await element.resumable.writer(opened.upload_id, opened.token, ALICE)
    await upload.write(writer, 0, b"abc", None)
    assert (await commit(element, opened)).sidecar.size_bytes == 3
    assert isinstance(await writer.interrupted, Aborted)


async def test_more_than_was_declared_is_refused_and_what_came_is_kept(
    element: MemoryElement,
) -> None:
    opened = await start(element, size_bytes=5)
    await write(element, opened, b"abc")
    with pytest.raises(DataLoss) as beyond:
        await write(element, opened, b"def", 3)
    assert beyond.value.reason == "SIZE_MISMATCH"
    assert await write(element, opened, b"de", 3) == 5
    await commit(element, opened)


@pytest.mark.parametrize(
    ("declared", "size", "error", "reason"),
    [
        (5, None, OutOfRange, "INCOMPLETE"),
        (None, 5, OutOfRange, "INCOMPLETE"),
        (None, 2, DataLoss, "SIZE_MISMATCH"),
        (5, 3, DataLoss, "SIZE_MISMATCH"),
    ],
)
async def test_a_commit_of_another_size_makes_no_file_and_keeps_what_came(
    element: MemoryElement,
    declared: int | None,
    size: int | None,
    error: type[ArtStoreError],
    reason: str,
) -> None:
    opened = await start(element, size_bytes=declared)
    await write(element, opened, b"abc")
    with pytest.raises(error) as refused:
        await commit(element, opened, size)
    assert refused.value.reason == reason
    assert element.tables.files == {}
    assert await write(element, opened, b"de", 3) == 5
    assert (await commit(element, opened, 5)).sidecar.size_bytes == 5


async def test_after_a_wrong_digest_bytes_may_be_sent_again_from_anywhere(
    element: MemoryElement,
) -> None:
    right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    opened = await start(element, sha256=right)
    await write(element, opened, b"axx")
    with pytest.raises(DataLoss) as wrong:
        await commit(element, opened)
    assert wrong.value.reason == "CHECKSUM_MISMATCH"
    assert element.tables.intents == {}
    assert await write(element, opened, b"bc", 1) == 3
    assert (await commit(element, opened)).sidecar.sha256 == right
    assert blobs(element) == [b"abc"]


async def test_an_aborted_upload_leaves_nothing_and_is_not_there(element: MemoryElement) -> None:
    opened = await start(element, size_bytes=100)
    upload, writer = await element.resumable.writer(opened.upload_id, opened.token, ALICE)
    await upload.write(writer, 0, b"abc", None)
    await abort(element, opened)
    assert leaves_nothing(element)
    assert isinstance(await writer.interrupted, Aborted)
    await abort(element, opened)
    for late in (progress(element, opened), commit(element, opened)):
        with pytest.raises(NotFound):
            await late


async def test_aborting_a_committed_upload_keeps_the_file(element: MemoryElement) -> None:
    opened = await start(element)
    view = await commit(element, opened)
    await abort(element, opened)
    assert element.row(view.sidecar.file_id) is not None


async def test_only_its_own_token_opens_an_upload(element: MemoryElement) -> None:
    opened, other = await start(element), await start(element)
    for token in ("", "wrong", other.token):
        with pytest.raises(PermissionDenied) as refused:
            await progress(element, replace(opened, token=token))
        assert refused.value.reason == "UPLOAD_TOKEN"
    for upload_id in ("se-02.x", "se-01.x", "se-01.\0", "x"):
        with pytest.raises(NotFound):
            await progress(element, replace(opened, upload_id=upload_id))


async def test_an_uploads_token_is_of_no_use_to_another_account_or_out_of_its_namespaces(
    element: MemoryElement,
) -> None:
    opened = await start(element)
    bound = frozenset({"elsewhere"})
    mallory, moved = replace(ALICE, subject="mallory"), replace(ALICE, namespaces_write=bound)
    for caller, reason in ((mallory, "UPLOAD_TOKEN"), (moved, "NAMESPACE")):
        resumable, known = element.resumable, (opened.upload_id, opened.token, caller)
        for call in (
            resumable.writer(*known),
            resumable.progress(*known),
            resumable.commit(*known, None, None, by=BY_ALICE),
            resumable.abort(*known),
        ):
            with pytest.raises(PermissionDenied) as refused:
                await call
            assert refused.value.reason == reason
    assert await progress(element, opened) == 0


# --- repeats -----------------------------------------------------------------------------


async def test_a_repeat_answers_the_same_upload_with_a_new_token(element: MemoryElement) -> None:
    first = await start(element, request_id="r-1")
    await write(element, first, b"abc")
    again = await start(element, request_id="r-1")
    assert again.upload_id == first.upload_id
    with pytest.raises(PermissionDenied):
        await progress(element, first)
    assert await progress(element, again) == 3
    with pytest.raises(AlreadyExists):
        await start(element, request_id="r-1", description="other")


async def test_a_repeat_after_the_commit_shows_the_file(element: MemoryElement) -> None:
    opened = await start(element, request_id="r-1")
    await write(element, opened, b"abc")
    view = await commit(element, opened)
    again = await start(element, request_id="r-1")
    size, found = await element.resumable.progress(again.upload_id, again.token, ALICE)
    assert found is not None
    assert (size, found.sidecar) == (3, view.sidecar)


async def test_a_repeat_finds_the_file_of_an_upload_in_one_stream(element: MemoryElement) -> None:
    view = await element.upload(b"hello", request_id="r-1")
    opened = await start(element, request_id="r-1")
    assert (await commit(element, opened)).sidecar == view.sidecar
    assert len(element.tables.files) == 1


async def test_an_upload_in_one_stream_ends_the_open_one_of_its_request(
    element: MemoryElement,
) -> None:
    opened = await start(element, request_id="r-1")
    await write(element, opened, b"some bytes")
    view = await element.upload(b"all of it", request_id="r-1")
    with pytest.raises(NotFound):
        await progress(element, opened)
    assert blobs(element) == [b"all of it"]
    assert list(element.tables.files) == [view.sidecar.file_id]


async def test_a_repeat_of_an_upload_whose_row_was_cleaned_finds_its_file(
    element: MemoryElement,
) -> None:
    opened = await start(element, request_id="r-1")
    view = await commit(element, opened)
    element.tables.files.clear()
    again = await element.upload(b"", request_id="r-1")
    element.tables.files.clear()
    opened = await start(element, request_id="r-1")
    assert (await commit(element, opened)).sidecar == again.sidecar == view.sidecar


async def test_a_repeat_for_a_file_deleted_since_is_not_found(element: MemoryElement) -> None:
    opened = await start(element, request_id="r-1")
    view = await commit(element, opened)
    deleted = await element.changes.delete(
        view.sidecar.file_id, ALICE, by=BY_ALICE, expected_revision=None
    )
    assert deleted.sidecar.state is FileState.DELETED
    for repeat in (
        start(element, request_id="r-1"),
        commit(element, opened),
        progress(element, opened),
    ):
        with pytest.raises(NotFound) as gone:
            await repeat
        assert gone.value.reason == "FILE_DELETED"


async def test_a_store_that_takes_no_writes_gives_the_upload_up_to_another_element(
    element: MemoryElement,
) -> None:
    await start(element, request_id="r-1")
    element.element.note_write(StoreReadOnly("read-only"))
    with pytest.raises(StoreReadOnly):
        await start(element, request_id="r-1")
    assert leaves_nothing(element)
