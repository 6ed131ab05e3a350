"""`element.json`, emptiness and the one writer."""

from __future__ import annotations

import pytest

from storage_server.store.port import Store
from tests.support.places import FOLDER, Place


async def test_element_is_missing_at_first_and_then_what_was_written(store: Store) -> None:
    assert await store.read_element() is None
    await store.write_element(b'{"mode": "edit"}')
    await store.write_element(b'{"mode": "rw"}')
    assert await store.read_element() == b'{"mode": "rw"}'


async def test_new_store_is_empty(store: Store) -> None:
    assert await store.is_empty()


async def test_marks_and_locks_do_not_fill_a_store(place: Place, store: Store) -> None:
    assert await store.acquire_writer()
    place.put({".keep": b"", "2026/.keep": b"", f"{FOLDER}/.keep": b"", "README": b""})
    assert await store.is_empty()


@pytest.mark.parametrize(
    "path", ["element.json", f"{FOLDER}/a", f"{FOLDER}/a.attr.json", "a.attr.json", "2026/x"]
)
async def test_store_with_something_in_it_is_not_empty(
    place: Place, store: Store, path: str
) -> None:
    place.put({path: b"x"})
    assert not await store.is_empty()


async def test_one_store_writes_and_hands_on_when_closed(place: Place) -> None:
    first, second = await place.open(), await place.open()
    assert await first.acquire_writer()
    assert await first.acquire_writer()
    if first.backend == "s3":
        return
    assert not await second.acquire_writer()
    await first.close()
    assert await second.acquire_writer()


async def test_free_bytes_are_known_or_unlimited(store: Store) -> None:
    free = await store.free_bytes()
    assert free is None or free > 0
