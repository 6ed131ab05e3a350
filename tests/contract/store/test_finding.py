"""Finding a sidecar by its file's id."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from storage_server.file_id import new_file_id
from storage_server.naming import folder_of
from storage_server.store.port import Store
from tests.contract.store.places import FOLDER, Place

AT = datetime(2026, 11, 24, 3, 5, tzinfo=UTC)


def path_of(file_id: str, folder: str = FOLDER, stem: str = "report") -> str:
    return f"{folder}/{stem}_user_20261124T030500_{file_id}.pdf.attr.json"


async def test_sidecar_is_found_by_its_id(store: Store) -> None:
    one, other = new_file_id(AT), new_file_id(AT)
    await store.write_sidecar(path_of(one), b"{}", expected=None)
    await store.write_sidecar(path_of(other), b"{}", expected=None)
    assert await store.find_sidecars(one, FOLDER) == [path_of(one)]
    assert await store.find_sidecars(other, FOLDER) == [path_of(other)]


async def test_unknown_id_is_not_found(store: Store) -> None:
    file_id = new_file_id(AT)
    assert list(await store.find_sidecars(file_id, FOLDER)) == []
    await store.write_sidecar(path_of(new_file_id(AT)), b"{}", expected=None)
    assert list(await store.find_sidecars(file_id, FOLDER)) == []


async def test_sidecar_is_found_at_once_after_its_write(store: Store) -> None:
    for _ in range(30):
        file_id = new_file_id(AT)
        assert list(await store.find_sidecars(file_id, FOLDER)) == []
        await store.write_sidecar(path_of(file_id), b"{}", expected=None)
        assert await store.find_sidecars(file_id, FOLDER) == [path_of(file_id)]
        await store.delete_sidecar(path_of(file_id))
        assert list(await store.find_sidecars(file_id, FOLDER)) == []


async def test_young_id_written_by_another_process_is_found(place: Place, store: Store) -> None:
    now = datetime.now(UTC)
    folder = folder_of(now)
    other = new_file_id(now - timedelta(minutes=1))
    await store.find_sidecars(other, folder)
    file_id = new_file_id(datetime.now(UTC))
    writer = await place.open()
    path = path_of(file_id, folder_of(now))
    await writer.write_sidecar(path, b"{}", expected=None)
    assert await store.find_sidecars(file_id, folder) == [path]


async def test_id_in_the_users_own_name_does_not_count(store: Store) -> None:
    own, file_id = new_file_id(AT), new_file_id(AT)
    path = path_of(file_id, stem=f"copy_of_{own}")
    await store.write_sidecar(path, b"{}", expected=None)
    assert list(await store.find_sidecars(own, FOLDER)) == []
    assert await store.find_sidecars(file_id, FOLDER) == [path]


async def test_two_sidecars_of_one_id_are_both_found(store: Store) -> None:
    file_id = new_file_id(AT)
    paths = [path_of(file_id), path_of(file_id, stem="other")]
    for path in paths:
        await store.write_sidecar(path, b"{}", expected=None)
    assert sorted(await store.find_sidecars(file_id, FOLDER)) == sorted(paths)


async def test_absent_are_those_that_would_not_be_found(store: Store) -> None:
    ids = [new_file_id(AT) for _ in range(20)]
    await store.write_sidecar(path_of(ids[0]), b"{}", expected=None)
    assert await store.absent(ids, FOLDER) == set(ids[1:])
    assert await store.absent(ids[:1], FOLDER) == set()
    assert await store.absent(ids, "1970/01/01/00") == set(ids)
    await store.write_sidecar(path_of(ids[1]), b"{}", expected=None)
    assert await store.absent(ids, FOLDER) == set(ids[2:])
    await store.delete_sidecar(path_of(ids[0]))
    assert ids[0] in await store.absent(ids, FOLDER)
