"""Sidecars: written whole, never over another's change unseen."""

from __future__ import annotations

import asyncio

import pytest

from mesh.errors import Aborted, InvalidArgument
from storage_server.store.port import MAX_SIDECAR_BYTES, UNREADABLE_SIZE, Store
from tests.support.places import FOLDER, Place

PATH = f"{FOLDER}/Отчёт & 100% +1 🎉_user_20261124T030000.pdf.attr.json"


async def test_what_was_written_is_read_with_the_same_identity(store: Store) -> None:
    written = await store.write_sidecar(PATH, b'{"a": 1}', expected=None)
    assert await store.read_sidecar(PATH) == (b'{"a": 1}', written)
    assert await store.stat_sidecar(PATH) == written


async def test_identity_changes_with_the_content(store: Store) -> None:
    first = await store.write_sidecar(PATH, b"one", expected=None)
    second = await store.write_sidecar(PATH, b"two", expected=first)
    assert first != second
    assert await store.read_sidecar(PATH) == (b"two", second)


async def test_missing_sidecar_is_none(store: Store) -> None:
    assert await store.read_sidecar(PATH) is None
    assert await store.stat_sidecar(PATH) is None
    await store.delete_sidecar(PATH)


async def test_deleted_sidecar_is_gone(store: Store) -> None:
    await store.write_sidecar(PATH, b"one", expected=None)
    await store.delete_sidecar(PATH)
    assert await store.read_sidecar(PATH) is None


async def test_change_over_anothers_change_is_refused(store: Store) -> None:
    if not store.conditional_put:
        return
    first = await store.write_sidecar(PATH, b"one", expected=None)
    second = await store.write_sidecar(PATH, b"two", expected=first)
    with pytest.raises(Aborted) as caught:
        await store.write_sidecar(PATH, b"three", expected=first)
    assert caught.value.reason == "REVISION_CONFLICT"
    with pytest.raises(Aborted):
        await store.write_sidecar(PATH, b"three", expected=None)
    assert await store.read_sidecar(PATH) == (b"two", second)


async def test_change_of_a_deleted_sidecar_is_refused(store: Store) -> None:
    if not store.conditional_put:
        return
    first = await store.write_sidecar(PATH, b"one", expected=None)
    await store.delete_sidecar(PATH)
    with pytest.raises(Aborted):
        await store.write_sidecar(PATH, b"two", expected=first)


async def test_repeat_of_a_write_whose_answer_was_lost_succeeds(store: Store) -> None:
    first = await store.write_sidecar(PATH, b"one", expected=None)
    assert await store.write_sidecar(PATH, b"one", expected=None) == first
    second = await store.write_sidecar(PATH, b"two", expected=first)
    assert await store.write_sidecar(PATH, b"two", expected=first) == second


async def test_server_is_known_for_its_conditions(place: Place, store: Store) -> None:
    assert store.conditional_put is (place.name != "rclone")


async def test_sidecar_over_the_limit_is_refused(store: Store) -> None:
    with pytest.raises(InvalidArgument):
        await store.write_sidecar(PATH, b"x" * (MAX_SIDECAR_BYTES + 1), expected=None)
    assert await store.read_sidecar(PATH) is None


async def test_foreign_sidecar_over_the_limit_is_read_a_byte_too_far(
    place: Place, store: Store
) -> None:
    place.put({PATH: b"x" * 100_000})
    found = await store.read_sidecar(PATH)
    assert found is not None
    assert len(found[0]) == MAX_SIDECAR_BYTES + 1
    assert found[1].size == 100_000


async def test_empty_sidecar_is_read(place: Place, store: Store) -> None:
    place.put({PATH: b""})
    found = await store.read_sidecar(PATH)
    assert found is not None
    assert found[0] == b""
    assert found[1].size == 0


async def test_many_are_read_in_order(place: Place, store: Store) -> None:
    paths = [f"2026/11/24/{hour:02}/f{n}.attr.json" for n in range(25) for hour in range(4)]
    place.put({path: path.encode() for path in paths if "f7." not in path})
    found = await store.read_sidecars(paths)
    for path, sidecar in zip(paths, found, strict=True):
        assert (sidecar[0] if sidecar else None) == (None if "f7." in path else path.encode())
    assert await store.read_sidecars([]) == []


async def test_identities_in_the_listing_are_those_of_reading(store: Store) -> None:
    written = await store.write_sidecar(PATH, b"one", expected=None)
    listed = [sidecar async for folder in store.scan() for sidecar in folder.sidecars]
    assert [(each.path, each.identity) for each in listed] == [(PATH, written)]


async def test_folder_named_like_a_sidecar_is_unreadable_or_nothing(
    place: Place, store: Store
) -> None:
    place.put_folder(PATH)
    found = await store.read_sidecar(PATH)
    # A bucket knows no folders: there is nothing of exactly that name.
    assert found is None or found == (b"", (UNREADABLE_SIZE, 0, 0, ""))


async def test_parallel_writes_of_different_files_all_land(store: Store) -> None:
    paths = [f"{FOLDER}/f{n}.attr.json" for n in range(40)]
    await asyncio.gather(
        *(store.write_sidecar(path, path.encode(), expected=None) for path in paths)
    )
    found = await store.read_sidecars(paths)
    assert [sidecar and sidecar[0] for sidecar in found] == [path.encode() for path in paths]
