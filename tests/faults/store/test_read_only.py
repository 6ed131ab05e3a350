"""A local store that reads but does not write: each kind is told from one that is down."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from mesh.errors import ArtStoreError, ResourceExhausted, StoreReadOnly, Unavailable
from storage_server.store import durable
from storage_server.store.local import LocalStore
from tests.support import mounts
from tests.support.blobs import BLOB, read, store_blob

SIDECAR = BLOB + ".attr.json"
OTHER_BLOB = BLOB.replace("report", "other")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalStore]:
    opened = await LocalStore.open(tmp_path / "root", deadline_seconds=3, patient_seconds=3)
    await opened.write_element(b"{}")
    assert await opened.acquire_writer()
    await store_blob(opened, b"stored before")
    yield opened
    await opened.close()


def staging(root: Path) -> list[str]:
    return [path.name for path in (root / ".staging").iterdir()]


@pytest.mark.parametrize(
    ("refuse", "reason"),
    [
        (mounts.read_only, "its file system is read-only"),
        (mounts.immutable, "writing is not permitted"),
    ],
)
async def test_refusing_store_is_read_and_says_why_it_takes_no_writes(
    store: LocalStore,
    tmp_path: Path,
    refuse: Callable[[Path], AbstractContextManager[None]],
    reason: str,
) -> None:
    root = tmp_path / "root"
    await store.try_write()
    refused = root / ".staging" if refuse is mounts.immutable else root
    with refuse(refused):
        with pytest.raises(StoreReadOnly, match=reason) as caught:
            await store.try_write()
        assert str(root) not in caught.value.message
        assert await read(store) == b"stored before"
        assert await store.read_element() == b"{}"
        store.write_trouble.clear()
        with pytest.raises(StoreReadOnly, match="reads but does not write"):
            await store.open_stage(OTHER_BLOB, key="upload-2")
        assert store.write_trouble.is_set()
        with pytest.raises(StoreReadOnly):
            await store.write_sidecar(SIDECAR, b"{}", expected=None)
    await store.try_write()
    await store.write_sidecar(SIDECAR, b"{}", expected=None)
    assert staging(root) == []


async def test_disk_that_turns_read_only_refuses_uploads_that_are_open(tmp_path: Path) -> None:
    image, root = tmp_path / "image", tmp_path / "root"
    mounts.disk_image(image, 32 << 20)
    root.mkdir()
    mounts.run(["mount", "-o", "loop", str(image), str(root)])
    try:
        store = await LocalStore.open(root, deadline_seconds=3, patient_seconds=3)
        stage = await store.open_stage(BLOB, key="upload-1")
        await stage.write(b"taken")
        await stage.checkpoint()
        mounts.break_disk(root)
        with pytest.raises(StoreReadOnly):
            await stage.write(b"refused")
            await stage.checkpoint()
        assert store.write_trouble.is_set()
        with pytest.raises(StoreReadOnly, match="its file system is read-only"):
            await store.try_write()
        await store.close()
    finally:
        mounts.run(["umount", "-l", str(root)])


async def test_full_disk_is_full_until_there_is_room(tmp_path: Path) -> None:
    root = tmp_path / "root"
    with mounts.memory(root, 1 << 20):
        store = await LocalStore.open(root)
        await store.try_write()
        (root / "filler").write_bytes(bytes(1 << 20))
        with pytest.raises(ResourceExhausted, match="no space is left"):
            await store.try_write()
        (root / "filler").unlink()
        await store.try_write()
        await store.close()


@pytest.mark.parametrize(
    ("number", "once", "probed"),
    [
        (errno.EROFS, StoreReadOnly, StoreReadOnly),
        (errno.EACCES, StoreReadOnly, StoreReadOnly),
        (errno.EPERM, StoreReadOnly, StoreReadOnly),
        (errno.ENOSPC, ResourceExhausted, ResourceExhausted),
        (errno.EDQUOT, ResourceExhausted, ResourceExhausted),
        # Perhaps one bad block; if the proof fails as well, it is the store.
        (errno.EIO, Unavailable, StoreReadOnly),
        (errno.ESTALE, Unavailable, StoreReadOnly),
    ],
)
async def test_each_error_of_a_write_means_what_it_is(
    store: LocalStore,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    once: type[ArtStoreError],
    probed: type[ArtStoreError],
) -> None:
    def failing(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(durable, "fsync", failing)
        with pytest.raises(once) as caught:
            await store.write_sidecar(SIDECAR, b"{}", expected=None)
        assert type(caught.value) is once
        assert store.write_trouble.is_set()
        with pytest.raises(probed) as caught:
            await store.try_write()
        assert type(caught.value) is probed
    await store.try_write()


async def test_what_may_not_be_read_is_no_store_that_does_not_write(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: Any, **__: Any) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", forbidden)
    with pytest.raises(Unavailable):
        await store.read_sidecar(SIDECAR)


async def test_frozen_write_is_tried_once_and_ends_within_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, tries = threading.Event(), []

    def frozen(fd: int) -> None:
        tries.append(fd)
        go.wait(20)

    store = await LocalStore.open(tmp_path / "root", deadline_seconds=0.2, patient_seconds=0.2)
    await store.try_write()
    monkeypatch.setattr(durable, "fsync", frozen)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await store.try_write()
    assert len(tries) == 1
    go.set()
    await store.try_write()
    await store.close()
