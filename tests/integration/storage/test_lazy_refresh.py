"""Refreshes under way: one at a time, overtaken by others, and spared when nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from artstore.v1 import storage_pb2, types_pb2
from storage_server.domain.file_id import new_file_id
from storage_server.files import refresh
from storage_server.locks.lazy import LazyLocks
from storage_server.store.local import LocalStore
from tests.integration.storage.tables import EXPIRE, FILES, sql
from tests.support.storage_rig import Node
from tests.support.waiting import until


class Counted:
    """How often refreshes ended in some way since this was made.

    Callers that did not wait for the end are left out: a busy machine has some.
    """

    def __init__(self) -> None:
        self._before = self._now()

    def __call__(self) -> dict[str, int]:
        now = self._now()
        return {name: found for name in now if (found := now[name] - self._before[name])}

    def _now(self) -> dict[str, int]:
        name = "artstore_lazy_refreshes_total"
        return {
            outcome.value: int(REGISTRY.get_sample_value(name, {"outcome": outcome.value}) or 0)
            for outcome in refresh.Outcome
            if outcome is not refresh.Outcome.TIME
        }


class Paused:
    """Sidecars are read, and each reader then waits for `go`."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.read = 0
        self.go = asyncio.Event()
        original = LocalStore.read_sidecar

        async def read_sidecar(store: LocalStore, path: str) -> Any:
            found = await original(store, path)
            self.read += 1
            await self.go.wait()
            return found

        patch.setattr(LocalStore, "read_sidecar", read_sidecar)


@asynccontextmanager
async def paused_refresh(
    node: Node, file_id: str, patch: pytest.MonkeyPatch
) -> AsyncIterator[asyncio.Task[types_pb2.File]]:
    """A refresh that has read the sidecar and goes on at the end of the block."""
    await sql(node, EXPIRE)
    with patch.context() as context:
        reading = Paused(context)
        asked = asyncio.create_task(node.get(file_id))
        await until(lambda: reading.read)
        yield asked
        reading.go.set()
        await asked


async def test_however_many_ask_the_sidecar_is_read_once(
    local: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = (await local.upload(description="kept")).file
    await sql(local, EXPIRE)
    counted = Counted()
    reading = Paused(monkeypatch)
    asked = [asyncio.create_task(local.get(file.file_id)) for _ in range(20)]
    await until(lambda: reading.read)
    reading.go.set()
    answers = await asyncio.gather(*asked)
    assert {one.description for one in answers} == {"kept"}
    assert reading.read == 1
    assert counted() == {"unchanged": 1}


async def test_an_update_that_comes_during_a_refresh_is_what_the_row_says(
    local: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = (await local.upload(description="old")).file
    request = storage_pb2.UpdateFileRequest(
        file_id=file.file_id, file=types_pb2.File(description="new")
    )
    async with paused_refresh(local, file.file_id, monkeypatch):
        update = asyncio.create_task(local.call("UpdateFile", request))
    assert (await update).file.description == "new"
    assert (await local.list()).files[0].description == "new"
    assert (await local.get(file.file_id)).revision == 2


async def test_a_refresh_that_a_rebuild_has_shut_out_writes_nothing(
    local: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = (await local.upload(description="sidecar")).file
    await sql(local, f"UPDATE {FILES} SET description = 'row'")
    counted = Counted()
    async with paused_refresh(local, file.file_id, monkeypatch) as asked:
        await sql(local, "UPDATE storage_elem_01_fences SET rebuild_fence = 1000000")
    assert (await asked).cache_stale
    await until(counted)
    assert counted() == {"stale_lock": 1}
    assert await sql(local, f"SELECT description FROM {FILES}") == "row"


async def test_that_a_file_is_not_here_is_said_without_the_lock_of_refreshes(
    local: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def hold(self: LazyLocks, file_id: str) -> AsyncIterator[int]:
        raise AssertionError("the lazy lock was asked for")
        yield 0

    monkeypatch.setattr(LazyLocks, "hold", hold)
    counted = Counted()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await local.get(new_file_id(datetime.now(UTC)))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert counted() == {"not_found": 1}


async def test_each_end_of_a_refresh_is_counted_and_a_damaged_row_is_written_anew(
    local: Node,
) -> None:
    file = (await local.upload(description="kept")).file
    path = local.rig.root / file.storage_path / f"{file.storage_filename}.attr.json"
    sidecar = path.read_bytes()

    async def ends(change: str) -> dict[str, int]:
        await sql(local, change)
        counted = Counted()
        with suppress(grpc.aio.AioRpcError):
            assert (await local.get(file.file_id)).description == "kept"
        return counted()

    damaged = f"{EXPIRE}, description = 'damaged'"
    assert await ends(damaged) == {"refreshed": 1}
    assert await sql(local, f"SELECT description FROM {FILES}") == "kept"
    with capture_logs() as logged:
        assert await ends(EXPIRE) == {"unchanged": 1}
    about = [line["event"] for line in logged if line.get("file_id") == file.file_id]
    assert about == ["Cache entry expired, triggering lazy rebuild", "lazy rebuild done", "call"]
    assert await ends(f"DELETE FROM {FILES}") == {"put_back": 1}
    path.write_bytes(b"{")
    assert await ends(EXPIRE) == {"stale_invalid": 1}
    path.unlink()
    assert await ends(EXPIRE) == {"not_found": 1}
    path.write_bytes(sidecar)
    element = local.rig.root / "element.json"
    identity = element.read_bytes()
    path.unlink()
    element.unlink()
    assert await ends(EXPIRE) == {"stale_storage": 1}
    element.write_bytes(identity)
