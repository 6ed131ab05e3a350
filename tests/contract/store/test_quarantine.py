"""What is set aside: kept until somebody removes it, and shown by no listing of files."""

from __future__ import annotations

import pytest

from mesh.errors import InvalidArgument
from storage_server.store.port import Store
from tests.support.places import Place

ID = "019307a8-7c00-7000-8000-000000000001"
FOLDER = "2024/11/07/12"
NAME = "019307a8-7c00-7000-8000-000000000001_0a1b.json"


async def test_what_is_set_aside_stays_for_the_next_process(place: Place, store: Store) -> None:
    assert await store.list_aside() == []
    await store.set_aside(NAME, b"one")
    await store.set_aside(NAME, b"two")
    await store.set_aside("other.json", b"three")
    again = await place.open()
    assert await again.list_aside() == [NAME, "other.json"]
    assert {path for path in place.paths() if "quarantine" in path} == {
        f".quarantine/{NAME}",
        ".quarantine/other.json",
    }


async def test_it_is_no_file_of_the_element(store: Store) -> None:
    await store.set_aside(NAME, b"one")
    assert [folder async for folder in store.scan()] == []
    assert await store.list_stages() == []
    assert await store.is_empty()


async def test_it_is_removed_for_good(store: Store) -> None:
    await store.set_aside(NAME, b"one")
    await store.discard_aside(NAME)
    await store.discard_aside(NAME)
    assert await store.list_aside() == []


async def test_a_blob_is_moved_there_and_counts_its_age_from_then(
    place: Place, store: Store
) -> None:
    path = f"{FOLDER}/a_b_20260102T030405_{ID}.pdf"
    assert not await store.quarantine(path, ID)
    assert await store.blob_age_seconds(path) is None
    assert await store.aside_age_seconds(ID) is None
    stage = await store.open_stage(path, key="stage")
    await stage.write(b"bytes")
    await stage.seal()
    await stage.place()
    age = await store.blob_age_seconds(path)
    assert age is not None and age < 60
    assert await store.quarantine(path, ID)
    assert await store.stat_blob(path) is None
    assert {one for one in place.paths() if ID in one} == {f".quarantine/{ID}"}
    assert await store.list_aside() == [ID]
    aside = await store.aside_age_seconds(ID)
    assert aside is not None and aside < 60
    await store.discard_aside(ID)
    assert not [one for one in place.paths() if ID in one]


@pytest.mark.parametrize("name", ["../x", "a/b", ".x", "", "a\0"])
async def test_a_name_that_could_leave_the_folder_is_refused(store: Store, name: str) -> None:
    with pytest.raises(InvalidArgument):
        await store.set_aside(name, b"one")
