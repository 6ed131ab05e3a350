"""Resumable uploads over a start of the element, a silent store, and commits whose end is open."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from mesh.errors import (
    OutOfRange,
    Unavailable,
)
from storage_server.writing.recording import SidecarUncertain
from tests.support.memory_element import ALICE, LONG_AGO, MemoryElement
from tests.support.origins import BY_ALICE
from tests.unit.storage.resumable import (
    LOST,
    SILENT,
    abort,
    blobs,
    commit,
    late_sidecar,
    progress,
    start,
    write,
)


async def test_after_a_start_it_goes_on_from_what_is_on_record(element: MemoryElement) -> None:
    opened = await start(element, size_bytes=6)
    await write(element, opened, b"abc")
    after = MemoryElement(element.memory, element.tables)
    await after.keeping.restore_room()
    assert after.space.reserved_bytes == 6
    assert await progress(after, opened) == 3
    await write(after, opened, b"def", 3)
    await commit(after, opened)
    assert blobs(after) == [b"abcdef"]


async def test_bytes_that_a_store_has_lost_are_asked_for_again(element: MemoryElement) -> None:
    opened = await start(element)
    await write(element, opened, b"abc")
    element.memory.stages.clear()
    after = MemoryElement(element.memory, element.tables)
    with pytest.raises(OutOfRange) as gap:
        await write(after, opened, b"def", 3)
    assert gap.value.metadata == {"expected_offset": "0"}
    await write(after, opened, b"abcdef")
    assert (await commit(after, opened, 6)).sidecar.size_bytes == 6


async def test_a_commit_that_waits_for_the_database_is_repeated_and_counted_once(
    element: MemoryElement,
) -> None:
    opened = await start(element)
    await write(element, opened, b"abc")
    element.catalog.fail("writes.commit_row", LOST)
    with pytest.raises(Unavailable) as waits:
        await commit(element, opened)
    assert waits.value.reason == "ROW_PENDING"
    element.catalog.mend()
    view = await commit(element, opened)
    assert view.sidecar.file_id == waits.value.metadata["file_id"]
    assert (element.tables.file_count, len(element.tables.files)) == (1, 1)
    assert element.tables.intents == {}


async def test_a_file_whose_commit_was_cut_off_is_found_after_the_start(
    element: MemoryElement,
) -> None:
    opened = await start(element)
    await write(element, opened, b"abc")
    element.catalog.fail("writes.commit_row", LOST)
    with pytest.raises(Unavailable):
        await commit(element, opened)
    after = MemoryElement(element.memory, element.tables)
    await after.keeping.settle_open()
    assert [row.committed for row in after.tables.uploads.values()] == [True]
    assert (await commit(after, opened)).sidecar.size_bytes == 3
    assert after.tables.file_count == 1


async def test_a_commit_of_which_it_is_open_is_decided_by_the_next_one(
    element: MemoryElement,
) -> None:
    opened = await start(element)
    await write(element, opened, b"abc")
    element.calls.fail("write_sidecar", SILENT)
    with pytest.raises(SidecarUncertain):
        await commit(element, opened)
    element.calls.mend()
    view = await commit(element, opened)
    assert element.sidecar(view.sidecar.file_id) == view.sidecar
    assert element.tables.intents == {}
    assert element.tables.file_count == 1


async def test_aborting_after_such_a_commit_keeps_the_file_that_is_there(
    element: MemoryElement,
) -> None:
    opened = await start(element)
    await write(element, opened, b"abc")
    element.calls.fail("read_sidecar", SILENT)
    element.calls.lose_answer("write_sidecar", SILENT)
    with pytest.raises(SidecarUncertain):
        await commit(element, opened)
    element.calls.mend()
    await abort(element, opened)
    (row,) = element.tables.files.values()
    assert element.sidecar(row.sidecar.file_id) == row.sidecar
    assert blobs(element) == [b"abc"]


@pytest.mark.parametrize("between", ["a commit that certainly fails", "a look", "nothing"])
async def test_a_sidecar_that_comes_late_is_the_file_of_every_later_commit(
    element: MemoryElement, between: str
) -> None:
    opened = await start(element)
    await write(element, opened, b"abc")
    comes = await late_sidecar(element, opened)
    if between == "a look":
        assert await progress(element, opened) == 3
    elif between == "a commit that certainly fails":
        element.calls.fail("stage.place", SILENT)
        with pytest.raises(Unavailable):
            await commit(element, opened)
        element.calls.mend()
    comes()
    await element.replay.all()
    (row,) = element.tables.files.values()
    changed = await element.changes.update(
        row.sidecar.file_id, {"description": "new"}, ALICE, by=BY_ALICE, expected_revision=None
    )
    assert (await commit(element, opened)).sidecar == changed.sidecar


async def test_a_sidecar_that_comes_after_the_abort_has_its_bytes(element: MemoryElement) -> None:
    opened = await start(element)
    await write(element, opened, b"abc")
    comes = await late_sidecar(element, opened)
    await abort(element, opened)
    comes()
    await element.replay.all()
    assert [row.sidecar.size_bytes for row in element.tables.files.values()] == [3]
    assert blobs(element) == [b"abc"]
    assert element.tables.intents == {}


@pytest.mark.parametrize("step", ["stage.seal", "stage.place"])
async def test_a_store_that_falls_silent_at_the_commit_keeps_what_came(
    element: MemoryElement, step: str
) -> None:
    opened = await start(element)
    await write(element, opened, b"abc")
    element.calls.fail(step, SILENT)
    with pytest.raises(Unavailable):
        await commit(element, opened)
    element.calls.mend()
    assert await progress(element, opened) == 3
    assert (await commit(element, opened, 3)).sidecar.size_bytes == 3


async def test_an_upload_that_nobody_touches_is_dropped_and_a_running_one_is_not(
    element: MemoryElement,
) -> None:
    opened, running = await start(element), await start(element)
    committed = await start(element)
    await commit(element, committed)
    await write(element, opened, b"abc")
    for upload_id, row in element.tables.uploads.items():
        element.tables.uploads[upload_id] = replace(row, touched_at=LONG_AGO)
    after = MemoryElement(element.memory, element.tables)
    await after.resumable.writer(running.upload_id, running.token, ALICE)
    await after.keeping.drop_idle()
    assert list(element.tables.uploads) == [running.upload_id]
    assert len(element.tables.files) == 1


async def test_whoever_goes_away_does_not_stop_a_commit(element: MemoryElement) -> None:
    opened = await start(element)
    await write(element, opened, b"abc")
    placing = element.calls.pause("stage.place")
    asked: asyncio.Task[Any] = asyncio.create_task(commit(element, opened))
    await placing.reached.wait()
    asked.cancel()
    await asyncio.wait([asked])
    placing.go.set()
    assert (await commit(element, opened)).sidecar.size_bytes == 3
    assert len(element.tables.files) == 1
