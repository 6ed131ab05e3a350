"""The index of names: shared listings, few at a time, never older than the question."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from mesh.errors import Unavailable
from storage_server.domain.file_id import new_file_id
from storage_server.store.name_index import FolderNames, NameIndex, names_by_id


class Folder:
    """Folders in memory whose listing waits for `go`."""

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {}
        self.stamp = "1"
        self.listings = 0
        self.go = asyncio.Event()
        self.go.set()

    async def list_names(self, folder: str) -> FolderNames | None:
        self.listings += 1
        seen = FolderNames(self.stamp, names_by_id(self.names.get(folder, [])))
        await self.go.wait()
        return seen

    async def current_stamp(self, folder: str) -> str:
        return self.stamp

    def add(self, folder: str, file_id: str) -> str:
        name = f"report_user_20261124T030000_{file_id}.pdf.attr.json"
        self.names.setdefault(folder, []).append(name)
        return f"{folder}/{name}"


def an_id(age_seconds: float = 3600) -> str:
    return new_file_id(datetime.now(UTC) - timedelta(seconds=age_seconds))


async def test_folder_with_the_same_stamp_is_listed_once() -> None:
    folder = Folder()
    index = NameIndex(folder.list_names, current_stamp=folder.current_stamp)
    one = an_id()
    path = folder.add("a", one)
    for _ in range(5):
        assert await index.find(one, "a") == [path]
        assert await index.find(an_id(), "a") == []
    assert folder.listings == 1
    folder.stamp = "2"
    other = an_id()
    assert await index.find(other, "a") == []
    assert folder.listings == 2


async def test_listing_with_a_young_stamp_is_used_once() -> None:
    folder = Folder()
    folder.stamp = ""
    index = NameIndex(folder.list_names, current_stamp=folder.current_stamp)
    await index.find(an_id(), "a")
    await index.find(an_id(), "a")
    assert folder.listings == 2


async def test_askers_share_a_listing() -> None:
    folder = Folder()
    folder.stamp = ""
    index = NameIndex(folder.list_names, current_stamp=folder.current_stamp)
    await asyncio.gather(*(index.find(an_id(), "a") for _ in range(100)))
    assert folder.listings <= 2


async def test_third_folder_at_once_is_refused() -> None:
    folder = Folder()
    folder.go.clear()
    index = NameIndex(folder.list_names, current_stamp=folder.current_stamp)
    waiting = [asyncio.create_task(index.find(an_id(), name)) for name in ("a", "b")]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable) as caught:
        await index.find(an_id(), "c")
    assert caught.value.retry_after_seconds == 0.5
    folder.go.set()
    await asyncio.gather(*waiting)
    assert await index.find(an_id(), "c") == []


async def test_file_written_while_its_folder_is_listed_is_found() -> None:
    folder = Folder()
    folder.go.clear()
    index = NameIndex(folder.list_names, current_stamp=folder.current_stamp)
    early = asyncio.create_task(index.find(an_id(), "a"))
    await asyncio.sleep(0.01)
    one = an_id()
    path = folder.add("a", one)
    late = asyncio.create_task(index.find(one, "a"))
    await asyncio.sleep(0.01)
    folder.go.set()
    assert await late == [path]
    assert await early == []


async def test_index_without_stamps_proves_no_absence_of_a_younger_id() -> None:
    folder = Folder()
    index = NameIndex(folder.list_names, life_seconds=60)
    await index.find(an_id(), "a")
    await index.find(an_id(), "a")
    assert folder.listings == 1
    young = an_id(0)
    path = folder.add("a", young)
    assert await index.find(young, "a") == [path]
    assert folder.listings == 2


async def test_own_write_during_a_listing_keeps_it_from_being_kept() -> None:
    folder = Folder()
    folder.go.clear()
    index = NameIndex(folder.list_names, life_seconds=60)
    early = asyncio.create_task(index.find(an_id(), "a"))
    await asyncio.sleep(0.01)
    one = an_id()
    path = folder.add("a", one)
    index.changed("a")
    folder.go.set()
    await early
    assert await index.find(one, "a") == [path]


async def test_index_without_stamps_grows_old() -> None:
    folder = Folder()
    index = NameIndex(folder.list_names, life_seconds=0.0)
    await index.find(an_id(), "a")
    await index.find(an_id(), "a")
    assert folder.listings == 2


async def test_closing_ends_those_who_wait() -> None:
    folder = Folder()
    folder.go.clear()
    index = NameIndex(folder.list_names, current_stamp=folder.current_stamp)
    waiting = asyncio.create_task(index.find(an_id(), "a"))
    await asyncio.sleep(0.01)
    await index.close()
    with pytest.raises(Unavailable):
        await waiting
