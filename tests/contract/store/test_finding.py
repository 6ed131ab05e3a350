"""Finding a sidecar by its file's id."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from storage_server.domain.file_id import new_file_id
from storage_server.domain.naming import folder_of
from storage_server.store.port import Store
from tests.support.places import FOLDER, Place

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


async def test_names_are_found_by_their_id_in_whatever_case(place: Place, store: Store) -> None:
    file_id = new_file_id(AT)
    folder, _, name = path_of(file_id).rpartition("/")
    blob = name.removesuffix(".attr.json")
    paths = [f"{folder}/{name.upper()}", f"{folder}/{blob.title()}"]
    place.put(dict.fromkeys(paths, b"{}"))
    assert await store.find_sidecars(file_id, FOLDER) == paths[:1]
    assert await store.find_blobs(file_id, FOLDER) == paths[1:]
    assert dict(await store.sidecars_in(FOLDER)) == {file_id: [name.upper()]}
    (listed,) = [one async for one in store.scan()]
    assert [one.path for one in listed.sidecars] == paths[:1]
    assert [one for one, _ in listed.blobs] == [blob.title()]


async def test_a_file_gets_another_name_and_keeps_its_content(place: Place, store: Store) -> None:
    path, other = path_of(new_file_id(AT)), path_of(new_file_id(AT))
    place.put({path: b"{}"})
    assert await store.rename(path, other)
    assert await store.read_sidecar(path) is None
    found = await store.read_sidecar(other)
    assert found is not None and found[0] == b"{}"
    assert not await store.rename(path, other)


async def test_no_file_is_renamed_over_another(place: Place, store: Store) -> None:
    path, other = path_of(new_file_id(AT)), path_of(new_file_id(AT))
    place.put({path: b"{}", other: b"[]"})
    assert not await store.rename(path, other)
    for name, content in ((path, b"{}"), (other, b"[]")):
        found = await store.read_sidecar(name)
        assert found is not None and found[0] == content


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
