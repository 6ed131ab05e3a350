"""Listing: complete, in order, and nothing but the element's own."""

from __future__ import annotations

from storage_server.store.port import UNREADABLE_SIZE, ListedFolder, Store
from tests.support.places import FOLDER, Place


async def listed(store: Store) -> dict[str, ListedFolder]:
    folders = [folder async for folder in store.scan(blob_sizes=True)]
    assert [folder.path for folder in folders] == sorted(folder.path for folder in folders)
    return {folder.path: folder for folder in folders if folder.sidecars or folder.blobs}


async def test_empty_store_lists_nothing(store: Store) -> None:
    assert await listed(store) == {}


async def test_listing_has_every_sidecar_and_blob_once_in_order(place: Place, store: Store) -> None:
    names = [f"f{n:04}_ä ü+&<{n}>.pdf" for n in range(505)]
    files = {f"{FOLDER}/{name}": b"x" * (n % 7) for n, name in enumerate(names)}
    files |= {f"{FOLDER}/{name}.attr.json": b"{}" for name in names}
    files |= {"2025/01/31/23/a.attr.json": b"{}", "2026/12/01/00/z.bin": b"zz"}
    place.put(files)
    found = await listed(store)
    assert list(found) == ["2025/01/31/23", FOLDER, "2026/12/01/00"]
    expected = sorted(f"{FOLDER}/{name}.attr.json" for name in names)
    assert [sidecar.path for sidecar in found[FOLDER].sidecars] == expected
    assert all(sidecar.identity.size == 2 for sidecar in found[FOLDER].sidecars)
    assert list(found[FOLDER].blobs) == sorted((name, n % 7) for n, name in enumerate(names))
    assert list(found["2026/12/01/00"].blobs) == [("z.bin", 2)]


async def test_names_that_sort_around_the_separator_stay_in_their_folder(
    place: Place, store: Store
) -> None:
    names = ["a", "a-b", "a.b", "a b", "a!", "a0", "A", "é", "日本", "🎉"]
    place.put({f"2026/11/24/{hour:02}/{name}": b"" for hour in range(3) for name in names})
    found = await listed(store)
    assert len(found) == 3
    for folder in found.values():
        assert [name for name, _ in folder.blobs] == sorted(names)


async def test_foreign_files_are_ignored(place: Place, store: Store) -> None:
    place.put(
        {
            ".keep": b"",
            "README.txt": b"",
            "element.json": b"{}",
            "2026/.keep": b"",
            "2026/note.attr.json": b"{}",
            "2026/11/24/notes.txt": b"",
            "2026/11/24/xx/a.attr.json": b"{}",
            "26/11/24/03/a.attr.json": b"{}",
            "backup/2026/11/24/03/a.attr.json": b"{}",
            f"{FOLDER}/.keep": b"",
            f"{FOLDER}/.hidden.attr.json": b"{}",
            f"{FOLDER}/deeper/a.attr.json": b"{}",
        }
    )
    assert await listed(store) == {}


async def test_folder_named_like_a_sidecar_is_listed_as_unreadable(
    place: Place, store: Store
) -> None:
    place.put_folder(f"{FOLDER}/a.attr.json")
    place.put({f"{FOLDER}/b.attr.json": b"{}"})
    found = (await listed(store))[FOLDER]
    assert [sidecar.path for sidecar in found.sidecars] == [
        f"{FOLDER}/a.attr.json",
        f"{FOLDER}/b.attr.json",
    ]
    assert [sidecar.identity.size for sidecar in found.sidecars] == [UNREADABLE_SIZE, 2]


async def test_stages_are_not_listed(store: Store) -> None:
    stage = await store.open_stage(f"{FOLDER}/blob", key="upload-1")
    await stage.write(b"x" * (9 << 20))
    await stage.checkpoint()
    assert await listed(store) == {}


async def test_listing_may_be_left(place: Place, store: Store) -> None:
    place.put({f"2026/11/{day:02}/00/a.attr.json": b"{}" for day in range(1, 20)})
    async for _ in store.scan():
        break
    assert len(await listed(store)) == 19
