"""A local store whose disk is full, broken, blocked or gone."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh.errors import ArtStoreError, DataLoss, ResourceExhausted, StoreReadOnly, Unavailable
from storage_server.store import durable
from storage_server.store.local import LocalStore
from tests.faults.store.reads import SIDECAR, every_read
from tests.faults.store.stages import no_stages
from tests.support.blobs import BLOB, read, store_blob
from tests.support.places import FOLDER
from tests.support.waiting import until

DEADLINE = 0.4


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalStore]:
    opened = await LocalStore.open(
        tmp_path / "root", deadline_seconds=DEADLINE, patient_seconds=DEADLINE
    )
    await opened.write_element(b"{}")
    yield opened
    await opened.close()


class Blockade:
    """Holds every call of one function of `durable` until it is lifted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self._lifted = threading.Event()
        real: Callable[..., Any] = getattr(durable, name)

        def held(*args: Any) -> Any:
            assert self._lifted.wait(30)
            return real(*args)

        monkeypatch.setattr(durable, name, held)

    def lift(self) -> None:
        self._lifted.set()


@pytest.fixture
def blocked_fsync(monkeypatch: pytest.MonkeyPatch) -> Iterator[Blockade]:
    blockade = Blockade(monkeypatch, "fsync")
    yield blockade
    blockade.lift()


def failing(monkeypatch: pytest.MonkeyPatch, name: str, code: int) -> None:
    def fail(*args: Any) -> Any:
        raise OSError(code, os.strerror(code), "/secret/absolute/path")

    monkeypatch.setattr(durable, name, fail)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
async def test_full_disk_is_resource_exhausted_and_leaves_nothing(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int
) -> None:
    stage = await store.open_stage(BLOB, key="upload-1")
    with monkeypatch.context() as patch:
        failing(patch, "append", code)
        await stage.write(b"x")
        with pytest.raises(ResourceExhausted):
            await stage.seal()
        with pytest.raises(ResourceExhausted):
            await store.write_sidecar(SIDECAR, b"{}", expected=None)
    await stage.discard()
    assert [path.name for path in (tmp_path / "root").rglob("*") if path.is_file()] == [
        "element.json"
    ]


@pytest.mark.parametrize("name", ["fsync", "rename", "append"])
@pytest.mark.parametrize(
    ("code", "kind"),
    [(errno.EIO, Unavailable), (errno.ESTALE, Unavailable), (errno.EROFS, StoreReadOnly)],
)
async def test_broken_disk_is_told_by_kind_and_says_no_absolute_path(
    store: LocalStore,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    code: int,
    kind: type[ArtStoreError],
) -> None:
    failing(monkeypatch, name, code)
    with pytest.raises(kind) as caught:
        await store.write_sidecar(SIDECAR, b"{}", expected=None)
    assert "/secret" not in caught.value.message
    assert SIDECAR in caught.value.message


async def test_blocked_disk_is_unavailable_within_the_deadline(
    store: LocalStore, blocked_fsync: Blockade
) -> None:
    stage = await store.open_stage(BLOB, key="upload-1")
    await stage.write(b"x")
    async with asyncio.timeout(5 * DEADLINE):
        with pytest.raises(Unavailable) as caught:
            await stage.seal()
        assert caught.value.reason == "STORAGE_SILENT"
        with pytest.raises(Unavailable):
            await store.write_sidecar(SIDECAR, b"{}", expected=None)


async def test_reads_go_on_while_writes_are_blocked(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store_blob(store, b"content")
    blockade = Blockade(monkeypatch, "fsync")
    try:
        for number in range(3):
            with pytest.raises(Unavailable):
                await store.write_sidecar(f"{FOLDER}/{number}.attr.json", b"{}", expected=None)
        assert await read(store) == b"content"
    finally:
        blockade.lift()


async def test_write_that_was_given_up_is_over_before_anyone_reads_its_path(
    store: LocalStore, blocked_fsync: Blockade
) -> None:
    with pytest.raises(Unavailable):
        await store.write_sidecar(SIDECAR, b"late", expected=None)
    with pytest.raises(Unavailable):
        await store.read_sidecar(SIDECAR)
    reader = asyncio.create_task(store.read_sidecar(SIDECAR))
    await asyncio.sleep(0)
    blocked_fsync.lift()
    found = await reader
    assert found is not None
    assert found[0] == b"late"


async def test_write_whose_caller_is_cancelled_goes_on_to_its_end(
    store: LocalStore, blocked_fsync: Blockade
) -> None:
    writer = asyncio.create_task(store.write_sidecar(SIDECAR, b"late", expected=None))
    await asyncio.sleep(0.05)
    writer.cancel()
    await asyncio.gather(writer, return_exceptions=True)
    reader = asyncio.create_task(store.stat_sidecar(SIDECAR))
    await asyncio.sleep(0)
    blocked_fsync.lift()
    assert await reader is not None


async def test_lock_is_held_until_the_last_write_is_over(
    store: LocalStore, blocked_fsync: Blockade, tmp_path: Path
) -> None:
    assert await store.acquire_writer()
    with pytest.raises(Unavailable):
        await store.write_sidecar(SIDECAR, b"late", expected=None)
    await store.close()
    successor = await LocalStore.open(tmp_path / "root")
    assert not await successor.acquire_writer()
    blocked_fsync.lift()
    await until(successor.acquire_writer)
    await successor.close()


async def test_discard_goes_on_when_its_caller_is_cancelled(
    store: LocalStore, tmp_path: Path
) -> None:
    stage = await store.open_stage(BLOB, key="upload-1")
    await stage.write(b"x" * 100)
    discarding = asyncio.create_task(stage.discard())
    await asyncio.sleep(0)
    discarding.cancel()
    await asyncio.gather(discarding, return_exceptions=True)
    await until(lambda: no_stages(store))


async def test_missing_root_is_no_proof_of_absence(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "root").rename(tmp_path / "elsewhere")
    assert [type(error) for error in await every_read(store)] == [Unavailable] * 7
    with pytest.raises(Unavailable):
        await store.read_element()
    with pytest.raises(Unavailable):
        async for _ in store.scan():
            pass
    with pytest.raises(Unavailable):
        await store.write_sidecar(SIDECAR, b"{}", expected=None)
    assert not (tmp_path / "root").exists()


async def test_empty_root_of_a_known_element_is_no_proof_of_absence(
    store: LocalStore, tmp_path: Path
) -> None:
    (tmp_path / "root").rename(tmp_path / "elsewhere")
    (tmp_path / "root").mkdir()
    assert await store.read_element() is None
    assert [type(error) for error in await every_read(store)] == [Unavailable] * 7
    (tmp_path / "root").rmdir()
    (tmp_path / "elsewhere").rename(tmp_path / "root")
    assert await store.read_sidecar(SIDECAR) is None
    with pytest.raises(DataLoss):
        await read(store)


async def test_leftovers_of_a_dead_writer_go_when_the_next_one_starts(tmp_path: Path) -> None:
    staging = tmp_path / ".staging"
    staging.mkdir()
    (staging / ".new-0123").write_text("half a sidec")
    (staging / "upload-1").write_text("bytes of an upload")
    store = await LocalStore.open(tmp_path)
    assert await store.acquire_writer()
    assert [path.name for path in staging.iterdir()] == ["upload-1"]
    await store.close()


async def test_closed_store_is_unavailable(tmp_path: Path) -> None:
    store = await LocalStore.open(tmp_path)
    await store.close()
    with pytest.raises(Unavailable):
        await store.read_element()
