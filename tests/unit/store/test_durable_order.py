"""The order of the system calls that make a write survive a power cut.

A kill proves nothing here: the page cache outlives the process. So the calls themselves are
recorded, as the store makes them. `tests/integration/storage/test_order_of_writes.py` has the
order of a whole write, with its intent and its row.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from storage_server.store.local import LocalStore
from tests.support.blobs import store_blob
from tests.support.recorder import Recorder

FOLDER = "2026/11/24/03"
BLOB = f"{FOLDER}/blob"
SIDECAR = BLOB + ".attr.json"

UPLOAD = [
    "append .staging/key",
    "fsync .staging/key",
    "touch .staging/key",
    "mkdir 2026",
    "fsync .",
    "mkdir 2026/11",
    "fsync 2026",
    "mkdir 2026/11/24",
    "fsync 2026/11",
    f"mkdir {FOLDER}",
    "fsync 2026/11/24",
    f"rename .staging/key {BLOB}",
    f"fsync {FOLDER}",
]
COMMIT = [
    "append .staging/new",
    "fsync .staging/new",
    f"rename .staging/new {SIDECAR}",
    f"fsync {FOLDER}",
]


async def test_upload_is_on_the_disk_before_its_sidecar_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "storage_element_01"
    recorder = Recorder(root, monkeypatch)
    store = await LocalStore.open(root)
    await store_blob(store, b"content", BLOB, "key")
    assert recorder.since(0)[-len(UPLOAD) :] == UPLOAD
    done = len(recorder.calls)
    await store.write_sidecar(SIDECAR, b"{}", expected=None)
    assert recorder.since(done) == COMMIT
    await store.close()


async def test_folder_made_by_a_process_that_died_is_forced_to_the_disk_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / FOLDER).mkdir(parents=True)
    recorder = Recorder(tmp_path, monkeypatch)
    store = await LocalStore.open(tmp_path)
    await store.write_sidecar(SIDECAR, b"{}", expected=None)
    rename = recorder.calls.index(f"rename .staging/new {SIDECAR}")
    for folder in (".", "2026", "2026/11", "2026/11/24"):
        assert f"fsync {folder}" in recorder.calls[:rename]
    assert recorder.calls[rename + 1 :] == [f"fsync {FOLDER}"]
    await store.close()


async def test_checkpoint_has_bytes_and_entry_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(tmp_path, monkeypatch)
    store = await LocalStore.open(tmp_path)
    stage = await store.open_stage(BLOB, key="key")
    await stage.write(b"content")
    done = len(recorder.calls)
    await stage.checkpoint()
    assert recorder.calls[done:][-2:] == ["fdatasync .staging/key", "fsync .staging"]
    await store.close()


async def test_deletion_is_forced_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(tmp_path, monkeypatch)
    store = await LocalStore.open(tmp_path)
    await store.write_sidecar(SIDECAR, b"{}", expected=None)
    done = len(recorder.calls)
    await store.delete_sidecar(SIDECAR)
    assert recorder.calls[done:] == [f"unlink {SIDECAR}", f"fsync {FOLDER}"]
    await store.close()


async def test_element_file_is_replaced_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(tmp_path, monkeypatch)
    store = await LocalStore.open(tmp_path)
    await store.write_element(b"{}")
    assert recorder.since(0)[-4:] == [
        "append .staging/new",
        "fsync .staging/new",
        "rename .staging/new element.json",
        "fsync .",
    ]
    await store.close()
