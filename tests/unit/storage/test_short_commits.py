"""Commits of uploads of which the element has less than what came make no file."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

import pytest

from mesh.errors import Aborted, DataLoss, NotFound, OutOfRange, Unavailable
from storage_server.uploads import keeping
from storage_server.uploads.resumable_uploads import StartedUpload
from tests.support.memory_element import ALICE, MemoryElement
from tests.unit.storage.resumable import (
    LOST,
    SILENT,
    blobs,
    commit,
    progress,
    start,
    write,
)

Loss = Callable[[MemoryElement], Awaitable[MemoryElement]]


async def rests(element: MemoryElement) -> MemoryElement:
    """Nobody has used its uploads for some minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keeping, "IDLE_CLOSE_SECONDS", -1.0)
        await element.keeping.close_idle()
    return element


async def stops(element: MemoryElement) -> MemoryElement:
    """It is stopped and started again."""
    await element.keeping.stop()
    return await is_killed(element)


async def is_killed(element: MemoryElement) -> MemoryElement:
    """It is killed and started again."""
    return MemoryElement(element.memory, element.tables)


async def loses_its_stages(element: MemoryElement) -> MemoryElement:
    """It is killed, and its store has lost what was on record."""
    element.memory.stages.clear()
    return await is_killed(element)


@pytest.mark.parametrize("loses", [rests, stops, is_killed, loses_its_stages])
@pytest.mark.parametrize("sent", [b"abc", b"abcdef"])
async def test_bytes_that_went_are_asked_for_again(
    element: MemoryElement, loses: Loss, sent: bytes
) -> None:
    element.memory.part_bytes = 4
    opened = await start(element)
    kept = len(sent) // 4 * 4
    assert await write(element, opened, sent) == kept
    after = await loses(element)
    left = 0 if loses is loses_its_stages else kept
    await is_refused(after, opened, came=len(sent), left=left)
    assert await progress(after, opened) == left
    await write(after, opened, sent[left:], left)
    assert (await commit(after, opened)).sidecar.size_bytes == len(sent)
    assert blobs(after) == [sent]


async def is_refused(
    element: MemoryElement, opened: StartedUpload, *, came: int, left: int
) -> None:
    with pytest.raises(OutOfRange) as refused:
        await commit(element, opened)
    assert refused.value.reason == "INCOMPLETE"
    assert refused.value.metadata == {"committed_size_bytes": str(left)}
    assert f"{came} bytes came" in refused.value.message
    assert "GetUpload" in refused.value.message
    assert blobs(element) == []
    assert element.tables.files == {}


async def test_bytes_that_a_failing_store_took_before_are_asked_for_again(
    element: MemoryElement,
) -> None:
    opened = await start(element)
    await write(element, opened, b"abc")
    upload, writer = await element.resumable.writer(opened.upload_id, opened.token, ALICE)
    await upload.write(writer, 3, b"def", None)
    element.calls.fail("stage.write", SILENT)
    with pytest.raises(Unavailable):
        await upload.write(writer, 6, b"ghi", None)
    element.calls.mend()
    await upload.end(writer)
    for now in (element, await is_killed(element)):
        await is_refused(now, opened, came=6, left=3)


async def test_a_commit_that_was_cut_off_before_its_sidecar_makes_no_shorter_file(
    element: MemoryElement,
) -> None:
    element.memory.part_bytes = 4
    opened = await start(element)
    await write(element, opened, b"abc")
    element.calls.fail("write_sidecar", SILENT)
    with pytest.raises(Unavailable):
        await commit(element, opened)
    after = await is_killed(element)
    with pytest.raises(OutOfRange) as refused:
        await commit(after, opened)
    assert refused.value.reason == "INCOMPLETE"
    await write(after, opened, b"abc")
    assert (await commit(after, opened)).sidecar.size_bytes == 3
    assert blobs(after) == [b"abc"]


async def test_what_came_on_a_stream_that_fell_silent_is_known_after_a_kill(
    element: MemoryElement,
) -> None:
    element.memory.part_bytes = 4
    opened = await start(element)
    upload, writer = await element.resumable.writer(opened.upload_id, opened.token, ALICE)
    await upload.write(writer, 0, b"abcde", None)
    element.keeping.interrupt_idle(-1.0)
    assert isinstance(await writer.interrupted, Aborted)
    with pytest.raises(Aborted) as silent:
        await upload.write(writer, 5, b"f", None)
    assert silent.value.reason == "IDLE"
    assert await upload.end(writer) == 4
    await is_refused(await is_killed(element), opened, came=5, left=4)


async def test_an_upload_stays_in_use_until_it_is_on_record_how_much_came(
    element: MemoryElement,
) -> None:
    element.memory.part_bytes = 4
    opened = await start(element)
    element.catalog.fail("uploads.record_progress", LOST)
    with pytest.raises(Unavailable):
        await write(element, opened, b"abc")
    await rests(element)
    element.catalog.mend()
    assert (await commit(element, opened)).sidecar.size_bytes == 3


async def test_a_file_made_of_an_open_stream_lets_its_upload_rest(element: MemoryElement) -> None:
    opened = await start(element)
    upload, writer = await element.resumable.writer(opened.upload_id, opened.token, ALICE)
    await upload.write(writer, 0, b"abc", None)
    await commit(element, opened)
    await rests(element)
    element.tables.uploads.clear()
    with pytest.raises(NotFound):
        await progress(element, opened)


async def test_whoever_sends_again_may_not_declare_less_than_came(element: MemoryElement) -> None:
    element.memory.part_bytes = 4
    opened = await start(element)
    await write(element, opened, b"abc")
    after = await is_killed(element)
    await write(after, opened, b"ab")
    with pytest.raises(DataLoss) as less:
        await commit(after, opened, 2)
    assert less.value.reason == "SIZE_MISMATCH"
    await is_refused(after, opened, came=3, left=2)


@pytest.mark.parametrize("killed", [False, True])
async def test_after_a_wrong_digest_the_right_bytes_may_be_fewer(
    element: MemoryElement, *, killed: bool
) -> None:
    element.memory.part_bytes = 4
    opened = await start(element)
    await write(element, opened, b"abcde")
    right = hashlib.sha256(b"ab").hexdigest()
    with pytest.raises(DataLoss):
        await commit(element, opened, sha256=right)
    await write(element, opened, b"b", 1)
    if killed:
        element = await is_killed(element)
        assert await progress(element, opened) == 0
        await is_refused(element, opened, came=2, left=0)
        await write(element, opened, b"ab")
    assert (await commit(element, opened, sha256=right)).sidecar.size_bytes == 2
    assert blobs(element) == [b"ab"]
