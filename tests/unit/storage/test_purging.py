"""A file's last record goes, whole and told once, whatever fails on the way."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from mesh.errors import Aborted, ArtStoreError, Unavailable
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.origin import Cause, Origin
from storage_server.sidecars.locate import locate
from storage_server.writing.purging import Purging
from storage_server.writing.replay import LANDING_TIME
from tests.support.memory_element import ALICE, MemoryElement
from tests.support.origins import BY_ALICE

COLLECTED = Origin(Cause.COLLECTION, "", "call-1")
DOWN = Unavailable("not answering")
STEPS = ("pending.begin_write", "delete_blob", "delete_sidecar", "writes.purge")


async def _tombstone(element: MemoryElement) -> str:
    file_id = (await element.upload(b"hello")).sidecar.file_id
    await element.changes.delete(file_id, ALICE, by=BY_ALICE, expected_revision=None)
    return file_id


async def _purge(element: MemoryElement, file_id: str) -> None:
    """As a step does: under the file's lock, once earlier writes are replayed."""
    store = element.element.writing()
    async with element.writing.hold(file_id) as held:
        await element.replay.before_change(held, file_id)
        found = await locate(store, file_id)
        if found is not None:
            purging = Purging(element.catalog, element.writer)  # type: ignore[arg-type]
            await purging.purge(store, found, by=COLLECTED)


def _told(element: MemoryElement, file_id: str) -> list[tuple[ChangeKind, Origin | None]]:
    return [
        (one.kind, one.origin)
        for one in element.tables.feed
        if one.file_id == file_id and one.kind is ChangeKind.PURGED
    ]


async def test_it_leaves_nothing_and_is_told_once(element: MemoryElement) -> None:
    file_id = await _tombstone(element)
    await _purge(element, file_id)
    await _purge(element, file_id)
    assert not element.paths()
    assert element.row(file_id) is None
    assert not element.tables.intents
    assert _told(element, file_id) == [(ChangeKind.PURGED, COLLECTED)]
    assert (element.tables.used_bytes, element.tables.file_count) == (0, 0)
    assert await element.lookup.find(file_id) is None


@pytest.mark.parametrize("lost", [False, True], ids=["asked", "done"])
@pytest.mark.parametrize("step", STEPS)
async def test_whatever_fails_the_next_start_finds_all_of_it_or_nothing_done(
    step: str, lost: bool
) -> None:
    element = MemoryElement()
    file_id = await _tombstone(element)
    calls = element.catalog if "." in step else element.calls
    if lost:
        calls.lose_answer(step, DOWN)
    else:
        calls.fail(step, DOWN)
    with suppress(ArtStoreError):
        await _purge(element, file_id)
    after = MemoryElement(element.memory, element.tables)
    await after.replay.all()
    gone = not any(path.endswith(".json") for path in after.paths())
    assert (after.row(file_id) is None) == gone
    assert len(_told(after, file_id)) == gone
    assert not after.tables.intents
    await _purge(after, file_id)
    assert not after.paths()
    assert _told(after, file_id) == [(ChangeKind.PURGED, COLLECTED)]


async def test_nothing_is_written_while_its_removal_may_still_come(
    element: MemoryElement,
) -> None:
    file_id = await _tombstone(element)
    element.calls.fail("delete_sidecar", DOWN)
    with pytest.raises(Unavailable):
        await _purge(element, file_id)
    element.calls.mend()
    with pytest.raises(Aborted):
        await element.changes.undelete(file_id, ALICE, by=BY_ALICE, expected_revision=None)
    for number, intent in element.tables.intents.items():
        past = intent.created_at - LANDING_TIME - timedelta(seconds=1)
        element.tables.intents[number] = replace(intent, created_at=past)
    await element.replay.all()
    assert element.row(file_id) is not None
    assert not element.tables.intents
    assert not _told(element, file_id)
