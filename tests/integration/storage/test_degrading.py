"""PostgreSQL, Redis, S3: stopped, or accepting and never answering. What still works, works."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from artstore.v1 import storage_pb2, types_pb2
from tests.support.services import PostgresProcess, S3Process, ValkeyProcess
from tests.support.storage_rig import Node, Rig, noise
from tests.support.waiting import until

Code = grpc.StatusCode
STORAGE, CACHE = "artstore.v1.StorageService", "artstore.v1.CacheService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def _is(node: Node, service: str, status: int) -> Any:
    async def asked() -> bool:
        stub = health_pb2_grpc.HealthStub(node.channel)
        request = health_pb2.HealthCheckRequest(service=service)
        return bool((await stub.Check(request, timeout=5)).status == status)

    return asked


def _writes(node: Node) -> Any:
    async def asked() -> bool:
        try:
            await node.upload()
        except grpc.aio.AioRpcError:
            return False
        return True

    return asked


_IDS = "SELECT file_id FROM storage_elem_01_files"
_EXPIRE = "UPDATE storage_elem_01_files SET cache_updated_at = now() - interval '48 h'"


async def _sql(node: Node, statement: str) -> Any:
    connection = await asyncpg.connect(node.rig.values["database_url"])
    try:
        return await connection.fetch(statement)
    finally:
        await connection.close()


async def _unavailable(call: Any, seconds: float) -> None:
    started = time.monotonic()
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    assert error.value.code() == Code.UNAVAILABLE
    assert time.monotonic() - started < seconds


@pytest.fixture(params=["stopped", "frozen"])
def how(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def postgres_rig(
    tmp_path: Path, own_postgres: PostgresProcess, redis_url: str
) -> AsyncIterator[Rig]:
    yield Rig(tmp_path, database_url=own_postgres.create_database(), redis_url=redis_url)


async def test_without_postgresql_files_are_read_from_their_sidecars(
    postgres_rig: Rig, own_postgres: PostgresProcess, how: str
) -> None:
    async with postgres_rig.running() as node:
        data = noise(100_000)
        file = (await node.upload(data, description="kept")).file
        opened = await node.start_upload()
        await node.write_upload(opened, b"12345")
        if how == "stopped":
            await asyncio.to_thread(own_postgres.stop)
        else:
            own_postgres.freeze()
        update = storage_pb2.UpdateFileRequest(
            file_id=file.file_id, file=types_pb2.File(description="x")
        )
        await _unavailable(node.call("UpdateFile", update), 9)
        found = await node.get(file.file_id)
        assert (found.description, found.cache_stale) == ("kept", True)
        assert await node.download(file.file_id, 10, 1000) == data[10:1010]
        await _unavailable(node.upload(), 9)
        await _unavailable(node.upload(request_id="r"), 9)
        await _unavailable(node.start_upload(), 9)
        await _unavailable(node.list(), 9)
        await _unavailable(node.commit_upload(opened), 9)
        delete = storage_pb2.DeleteFileRequest(file_id=file.file_id)
        await _unavailable(node.call("DeleteFile", delete), 9)
        await until(_is(node, CACHE, NOT_SERVING))
        assert await _is(node, STORAGE, SERVING)()
        assert not (await node.element()).writable
        if how == "stopped":
            await asyncio.to_thread(own_postgres.start)
        else:
            own_postgres.thaw()
        await until(_writes(node))
        await until(_is(node, CACHE, SERVING))
        assert (await node.commit_upload(opened)).file.size_bytes == 5
        assert not (await node.get(file.file_id)).cache_stale


async def test_it_starts_without_postgresql_and_comes_up_by_itself(
    postgres_rig: Rig, own_postgres: PostgresProcess
) -> None:
    async with postgres_rig.running() as node:
        file = (await node.upload()).file
    await asyncio.to_thread(own_postgres.stop)
    async with postgres_rig.running() as node:
        assert await node.download(file.file_id) == b"hello"
        assert (await node.get(file.file_id)).cache_stale
        await _unavailable(node.upload(), 9)
        await asyncio.to_thread(own_postgres.start)
        await until(_writes(node))
        assert not (await node.get(file.file_id)).cache_stale


async def test_a_first_start_waits_for_postgresql(
    tmp_path: Path, own_postgres: PostgresProcess, redis_url: str
) -> None:
    url = own_postgres.database_url("made_at_start")
    await asyncio.to_thread(own_postgres.stop)
    rig = Rig(tmp_path, database_url=url, redis_url=redis_url)
    async with rig.running() as node:
        await _unavailable(node.upload(), 9)
        assert not (rig.root / "element.json").exists()
        await asyncio.to_thread(own_postgres.start)
        await until(_writes(node))


async def test_without_redis_everything_but_the_cache_service_works(
    tmp_path: Path, database_url: str, own_valkey: ValkeyProcess, how: str
) -> None:
    rig = Rig(tmp_path, database_url=database_url, redis_url=own_valkey.url)
    async with rig.running() as node:
        await _sql(
            node,
            "INSERT INTO storage_elem_01_files"
            " (file_id, original_filename, storage_filename, storage_path, size_bytes, description)"
            " SELECT gen_random_uuid(), 'a', 'a', '2025/01/01/00', 1, 'old'"
            " FROM generate_series(1, 1000)",
        )
        old = [row["file_id"] for row in await _sql(node, _IDS)]
        lost = (await node.upload(description="sidecar")).file.file_id
        await _sql(node, _EXPIRE)
        await _sql(node, f"DELETE FROM storage_elem_01_files WHERE file_id = '{lost}'")
        if how == "stopped":
            await asyncio.to_thread(own_valkey.stop)
        else:
            own_valkey.freeze()
        request = storage_pb2.BatchGetFilesRequest(file_ids=old)
        answer = await node.call("BatchGetFiles", request, timeout=8)
        assert [file.file_id for file in answer.files] == old
        assert {(one.description, one.cache_stale) for one in answer.files} == {("old", True)}
        found = await node.get(lost)
        assert (found.description, found.cache_stale) == ("sidecar", True)
        assert (await node.list()).total_size == len(old)
        file = (await node.upload(b"12345", request_id="r")).file
        assert await node.download(file.file_id) == b"12345"
        await node.call("DeleteFile", storage_pb2.DeleteFileRequest(file_id=file.file_id))
        await until(_is(node, CACHE, NOT_SERVING))
        assert await _is(node, STORAGE, SERVING)()
        if how == "stopped":
            await asyncio.to_thread(own_valkey.start)
        else:
            own_valkey.thaw()
        await until(_is(node, CACHE, SERVING))


async def test_without_s3_metadata_still_comes_from_the_cache(
    tmp_path: Path,
    database_url: str,
    redis_url: str,
    own_s3: S3Process,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    account = own_s3.create_bucket()
    for name, value in account.environment().items():
        monkeypatch.setenv(name, value)
    rig = Rig(
        tmp_path,
        database_url=database_url,
        redis_url=redis_url,
        s3_endpoint_url=account.endpoint_url,
        s3_bucket=account.bucket,
    )
    async with rig.running() as node:
        file = (await node.upload(b"12345")).file
        old = (await node.upload(b"12345")).file
        await _sql(node, f"{_EXPIRE} WHERE file_id = '{old.file_id}'")
        if how == "stopped":
            await asyncio.to_thread(own_s3.stop)
        else:
            own_s3.freeze()
        request = storage_pb2.StorageServiceGetFileRequest(file_id=old.file_id)
        stale = (await node.call("GetFile", request, timeout=2.5)).file
        assert (stale.file_id, stale.cache_stale) == (old.file_id, True)
        batch = storage_pb2.BatchGetFilesRequest(file_ids=[file.file_id, old.file_id])
        answer = await node.call("BatchGetFiles", batch, timeout=2.5)
        assert [one.cache_stale for one in answer.files] == [False, True]
        assert (await node.get(file.file_id)).file_id == file.file_id
        assert (await node.list()).total_size == 2
        await until(_is(node, STORAGE, NOT_SERVING), 15)
        await _unavailable(node.download(file.file_id), 3)
        await _unavailable(node.upload(), 3)
        assert (await node.get(file.file_id)).file_id == file.file_id
        if how == "stopped":
            await asyncio.to_thread(own_s3.start)
        else:
            own_s3.thaw()
        await until(_is(node, STORAGE, SERVING), 15)
        await until(_writes(node), 15)
        assert await node.download(file.file_id) == b"12345"


async def test_a_caller_in_a_hurry_is_answered_from_the_sidecar_while_postgresql_is_silent(
    postgres_rig: Rig, own_postgres: PostgresProcess
) -> None:
    async with postgres_rig.running() as node:
        file = (await node.upload(description="kept")).file
        own_postgres.freeze()
        try:
            request = storage_pb2.StorageServiceGetFileRequest(file_id=file.file_id)
            found = (await node.call("GetFile", request, timeout=1.5)).file
            assert (found.description, found.cache_stale) == ("kept", True)
        finally:
            own_postgres.thaw()
