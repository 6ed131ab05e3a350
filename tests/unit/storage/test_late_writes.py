"""What a store carries out after the process that sent it has died."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from mesh.errors import Unavailable
from storage_server.domain.naming import blob_beside
from storage_server.domain.sidecar import Sidecar, decode
from storage_server.store.port import SIDECAR_SUFFIX
from storage_server.writing.recording import SidecarUncertain
from tests.support.memory_element import MemoryElement, path_of
from tests.support.memory_store import MemoryStore
from tests.unit.storage.stepping import CONTENT, Pair

DOWN = Unavailable("the store is silent", reason="STORAGE_DOWN")
# A large upload is put together for so long before its sidecar is sent.
LONG = timedelta(minutes=2)


@pytest.fixture(autouse=True)
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """As S3."""
    monkeypatch.setattr(MemoryStore, "lands_late", True)


async def test_a_sidecar_that_a_killed_process_sent_finds_its_bytes_however_long_the_upload_took(
    element: MemoryElement,
) -> None:
    sent = await _killed(element)
    after = MemoryElement(element.memory, element.tables)
    after.replay.take_over()
    await after.replay.all()
    assert len(after.tables.intents) == 1
    after.put_sidecar(sent)
    await after.replay.all()
    row = after.row(sent.file_id)
    assert row is not None
    assert (row.sidecar, row.pending) == (sent, False)
    assert after.paths() == {path_of(sent), blob_beside(path_of(sent))}


async def test_what_nothing_followed_goes_once_nothing_of_a_dead_process_can_come(
    element: MemoryElement, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _killed(element)
    after = MemoryElement(element.memory, element.tables)
    after.replay.take_over()
    monkeypatch.setattr("storage_server.writing.replay.LANDING_TIME", timedelta(0))
    await after.replay.all()
    assert not after.tables.intents
    assert not after.paths()


async def test_what_came_of_a_pull_that_is_given_up_goes_when_nothing_of_it_can_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair = await Pair.made()
    await pair.broken_off(after=3)
    pair.restarted()
    pair.here.replay.take_over()
    with pytest.raises(Unavailable):
        await pair.give_up()
    assert pair.file_id in pair.here.tables.pulls
    # The server had the whole PUT of the process that died.
    pair.here.memory.put(pair.path, CONTENT)
    monkeypatch.setattr("storage_server.writing.replay.LANDING_TIME", timedelta(0))
    await pair.give_up()
    assert pair.here.paths() == set()
    pair.agrees()


async def _killed(element: MemoryElement) -> Sidecar:
    """An upload whose process died as its sidecar was on its way; that sidecar."""
    element.calls.fail("read_sidecar", DOWN)
    element.calls.lose_answer("write_sidecar", DOWN)
    with pytest.raises(SidecarUncertain):
        await element.upload()
    (path,) = [one for one in element.memory.files if one.endswith(SIDECAR_SUFFIX)]
    content, _ = element.memory.files.pop(path)
    for number, intent in element.tables.intents.items():
        began = intent.created_at - LONG
        element.tables.intents[number] = replace(intent, created_at=began)
    return decode(content)
