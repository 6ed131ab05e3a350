"""What an element tells of a file to who wants to know how it is, and changes nothing by asking."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mesh.errors import NotFound
from mesh.identity.caller import Caller, Role
from storage_server.domain.sidecar import FileState
from storage_server.domain.sidecar_changes import tombstoned
from storage_server.writing.view import FileView
from tests.support.memory_element import ALICE, LONG_AGO, MemoryElement
from tests.support.origins import BY_ALICE

STRANGER = Caller("bob", Role.USER, frozenset({"other"}))


async def look(
    element: MemoryElement, file_id: str, caller: Caller = ALICE, *, show_deleted: bool = True
) -> FileView:
    return await element.lookup.get(
        file_id, caller, show_deleted=show_deleted, omit_refresh=True, seconds_left=2.0
    )


async def test_an_expired_row_is_shown_as_it_is_and_stays_so(element: MemoryElement) -> None:
    file_id = (await element.upload()).sidecar.file_id
    element.expire()
    element.calls.made.clear()
    view = await look(element, file_id)
    assert (view.cache_updated_at, view.cache_expired, view.cache_stale) == (LONG_AGO, True, False)
    row = element.row(file_id)
    assert row is not None
    assert row.cache_updated_at == LONG_AGO
    assert element.calls.made == []
    assert element.lazy_lock.asked == 0


async def test_a_row_that_is_missing_is_not_put_back(element: MemoryElement) -> None:
    file_id = (await element.upload()).sidecar.file_id
    element.tables.files.clear()
    view = await look(element, file_id.upper())
    assert (view.sidecar.file_id, view.cache_updated_at) == (file_id, None)
    assert element.row(file_id) is None


async def test_a_tombstone_is_shown_to_those_who_ask_for_it(element: MemoryElement) -> None:
    file_id = (await element.upload()).sidecar.file_id
    await element.changes.delete(file_id, ALICE, by=BY_ALICE, expected_revision=None)
    view = await look(element, file_id)
    assert (view.sidecar.state, view.sidecar.revision) == (FileState.DELETED, 2)
    stored = await element.lookup.get(file_id, ALICE, show_deleted=True)
    assert stored.sidecar == view.sidecar
    with pytest.raises(NotFound) as deleted:
        await look(element, file_id, show_deleted=False)
    assert deleted.value.reason == "FILE_DELETED"
    with pytest.raises(NotFound) as hidden:
        await look(element, file_id, STRANGER)
    assert hidden.value.reason != "FILE_DELETED"


async def test_a_tombstone_without_a_row_is_shown_from_its_sidecar(element: MemoryElement) -> None:
    file_id = (await element.upload()).sidecar.file_id
    element.put_sidecar(tombstoned(element.sidecar(file_id), datetime.now(UTC)))
    element.tables.files.clear()
    assert (await look(element, file_id)).sidecar.state is FileState.DELETED


@pytest.mark.parametrize("unknown", ["0199aaaa-0000-7000-8000-000000000001", "report.pdf", ""])
async def test_what_is_not_there_is_not_found(element: MemoryElement, unknown: str) -> None:
    with pytest.raises(NotFound):
        await look(element, unknown)


async def test_while_the_database_is_down_the_sidecar_is_shown(element: MemoryElement) -> None:
    file_id = (await element.upload()).sidecar.file_id
    element.catalog.down = True
    view = await look(element, file_id)
    assert (view.sidecar.file_id, view.cache_updated_at) == (file_id, None)
