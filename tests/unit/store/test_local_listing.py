"""Listing a local store: stamps, links, and folders that go while they are listed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from mesh.errors import Unavailable
from storage_server.store import listing
from storage_server.store.folders import Folders
from storage_server.store.listing import Walk
from storage_server.store.local import LocalStore
from storage_server.store.port import UNREADABLE_SIZE, ListedFolder

FOLDER = "2026/11/24/03"


def fill(root: Path, folder: str = FOLDER, names: tuple[str, ...] = ("a.attr.json",)) -> Path:
    path = root / folder
    path.mkdir(parents=True, exist_ok=True)
    for name in names:
        (path / name).write_text("{}")
    return path


def age(folder: Path, seconds: float) -> None:
    at = time.time_ns() - int(seconds * 1e9)
    os.utime(folder, ns=(at, at))


def walk(root: Path, known: dict[str, str] | None = None) -> list[ListedFolder]:
    steps = Walk(Folders(root), known or {}, blob_sizes=False)
    found: list[ListedFolder] = []
    while batch := steps.next_batch():
        found += batch
    return found


def test_young_stamp_is_not_trusted(tmp_path: Path) -> None:
    folder = fill(tmp_path)
    age(folder, 0.01)
    assert walk(tmp_path)[0].stamp == ""
    age(folder, 0.2)
    assert walk(tmp_path)[0].stamp == str(folder.stat().st_mtime_ns)


def test_stamp_in_whole_seconds_must_be_a_second_old(tmp_path: Path) -> None:
    folder = fill(tmp_path)
    second = time.time_ns() // 10**9 * 10**9
    os.utime(folder, ns=(second, second))
    assert walk(tmp_path)[0].stamp == ""
    os.utime(folder, ns=(second - 10**9, second - 10**9))
    assert walk(tmp_path)[0].stamp == str(second - 10**9)


def test_folder_with_the_known_stamp_is_not_listed(tmp_path: Path) -> None:
    folder, other = fill(tmp_path), fill(tmp_path, "2026/11/24/04")
    age(folder, 5)
    age(other, 5)
    known = {found.path: found.stamp for found in walk(tmp_path)}
    (other / "b.attr.json").write_text("{}")
    first, second = walk(tmp_path, known)
    assert first == ListedFolder(FOLDER, known[FOLDER], (), (), unchanged=True)
    assert not second.unchanged
    assert len(second.sidecars) == 2


def test_known_folder_that_is_gone_is_not_yielded(tmp_path: Path) -> None:
    age(fill(tmp_path), 5)
    assert walk(tmp_path, {"2025/01/01/00": "1"})[0].path == FOLDER


def test_folder_that_vanishes_ends_the_listing_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_BATCH_FOLDERS", 1)
    fill(tmp_path)
    later = fill(tmp_path, "2026/11/24/04", ())
    steps = Walk(Folders(tmp_path), {}, blob_sizes=False)
    assert steps.next_batch()[0].path == FOLDER
    later.rmdir()
    with pytest.raises(Unavailable):
        steps.next_batch()


def test_linked_folder_is_an_error_and_not_an_absence(tmp_path: Path) -> None:
    outside = fill(tmp_path / "outside")
    root = tmp_path / "root"
    (root / "2026/11/24").mkdir(parents=True)
    (root / "2026/11/24/03").symlink_to(outside)
    with pytest.raises(Unavailable):
        walk(root)


async def test_linked_folder_is_not_followed(tmp_path: Path) -> None:
    outside = fill(tmp_path / "outside")
    root = tmp_path / "root"
    (root / "2026/11/24").mkdir(parents=True)
    (root / FOLDER).symlink_to(outside)
    store = await LocalStore.open(root)
    with pytest.raises(Unavailable):
        await store.read_sidecar(f"{FOLDER}/a.attr.json")
    with pytest.raises(Unavailable):
        await store.write_sidecar(f"{FOLDER}/b.attr.json", b"{}", expected=None)
    with pytest.raises(Unavailable):
        await store.delete_sidecar(f"{FOLDER}/a.attr.json")
    assert [path.name for path in outside.iterdir()] == ["a.attr.json"]
    await store.close()


async def test_linked_sidecar_is_unreadable_and_linked_blob_missing(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    root = tmp_path / "root"
    folder = fill(root, names=())
    (folder / "a.attr.json").symlink_to(secret)
    (folder / "a").symlink_to(secret)
    os.mkfifo(folder / "pipe.attr.json")
    store = await LocalStore.open(root)
    for name in ("a", "pipe"):
        found = await store.read_sidecar(f"{FOLDER}/{name}.attr.json")
        assert found is not None
        assert (found[0], found[1].size) == (b"", UNREADABLE_SIZE)
    with pytest.raises(Unavailable):
        await anext(store.read_blob(f"{FOLDER}/a", offset=0, length=0, chunk_size=1024))
    assert await store.stat_blob(f"{FOLDER}/a") is None
    (listed,) = walk(root)
    assert [sidecar.identity.size for sidecar in listed.sidecars] == [UNREADABLE_SIZE] * 2
    assert listed.blobs == []
    await store.close()
