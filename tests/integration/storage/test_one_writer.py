"""One process writes an element; another one stands by, serves reads and takes over."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import grpc
import pytest
from google.protobuf import json_format
from redis.asyncio import Redis

from artstore.v1 import elements_pb2, types_pb2
from mesh.postgres.database import Database
from storage_server.element import opening, session_lock
from tests.support.storage_rig import Node, Rig
from tests.support.waiting import until

Code = grpc.StatusCode


def _writes(node: Node) -> Any:
    async def asked() -> bool:
        return (await node.element()).writable

    return asked


async def test_a_standby_serves_reads_and_takes_over(rig: Rig) -> None:
    first = rig.running()
    writer = await first.__aenter__()
    file = (await writer.upload()).file
    async with rig.running() as standby:
        element = await standby.element()
        assert (element.is_writer, element.writable) == (False, False)
        assert await standby.download(file.file_id) == b"hello"
        assert (await standby.get(file.file_id)).file_id == file.file_id
        assert (await standby.list()).total_size == 1
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await standby.upload()
        assert error.value.code() == Code.UNAVAILABLE
        await first.__aexit__(None, None, None)
        await until(_writes(standby))
        await standby.upload()
        assert (await standby.list()).total_size == 2


async def test_a_process_that_stops_slowly_does_not_take_the_element_again(
    local_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "INTERVAL_SECONDS", 0.001)
    close = Database.close

    async def slowly(database: Database) -> None:
        await asyncio.sleep(0.1)
        await close(database)

    monkeypatch.setattr(Database, "close", slowly)
    async with local_rig.running() as node:
        await node.upload()
    async with local_rig.running() as node:
        await until(_writes(node), 3)
        await node.upload()


async def test_a_writer_that_loses_its_session_stops_and_comes_back(s3_rig: Rig) -> None:
    async with s3_rig.running() as node:
        opened = await node.start_upload()
        await node.write_upload(opened, b"12345")
        connection = await asyncpg.connect(s3_rig.values["database_url"])
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks"
            " WHERE locktype = 'advisory' AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        await connection.close()

        async def uploads() -> bool:
            try:
                return bool((await node.upload()).file.file_id)
            except grpc.aio.AioRpcError as error:
                assert error.code() == Code.UNAVAILABLE
                return False

        # Its own pid was the last holder: it does not wait for itself.
        await until(uploads, 5)


async def test_without_conditional_put_no_sidecar_is_written_once_the_lock_is_gone(
    rclone_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rclone_rig.running() as node:

        async def gone(*_: object) -> None:
            raise session_lock.Unavailable("not the writer", reason="NOT_WRITER")

        monkeypatch.setattr(session_lock.SessionWriterLock, "check", gone)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await node.upload()
        assert error.value.code() == Code.UNAVAILABLE
        assert (await node.list()).total_size == 0


async def test_a_new_holder_waits_for_one_that_may_still_be_alive(
    rclone_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_lock, "WAIT_SECONDS", 2.0)
    async with rclone_rig.running():
        pass
    await _was_of_a_living_writer_elsewhere(rclone_rig)
    started = asyncio.get_running_loop().time()
    async with rclone_rig.running() as node:
        assert not (await node.element()).writable
        await until(_writes(node))
        assert asyncio.get_running_loop().time() - started >= 2.0


async def test_a_server_with_conditional_put_needs_no_wait(
    s3_rig: Rig,
) -> None:
    async with s3_rig.running():
        pass
    await _was_of_a_living_writer_elsewhere(s3_rig)
    started = asyncio.get_running_loop().time()
    async with s3_rig.running() as node:
        await until(_writes(node))
        assert asyncio.get_running_loop().time() - started < session_lock.WAIT_SECONDS / 2


async def _was_of_a_living_writer_elsewhere(rig: Rig) -> None:
    connection = await asyncpg.connect(rig.values["database_url"])
    await connection.execute(
        "UPDATE storage_elem_01_writer SET host = 'elsewhere', released = false"
    )
    await connection.close()


async def test_the_writer_reports_itself_and_a_standby_stays_silent(local_rig: Rig) -> None:
    redis: Any = Redis.from_url(local_rig.values["redis_url"])
    async with local_rig.running(priority=7) as writer:

        async def report() -> elements_pb2.StorageElementReport:
            value = await redis.get("artstore:element:se-01")
            return json_format.Parse(value or "{}", elements_pb2.StorageElementReport())

        async def reported() -> bool:
            return (await report()).writable

        await until(reported)
        found = await report()
        assert found.endpoint.endswith(f":{writer.server.port}")
        assert (found.priority, found.is_writer, found.backend) == (
            7,
            True,
            types_pb2.STORAGE_BACKEND_LOCAL,
        )
        assert 0 < await redis.ttl("artstore:element:se-01") <= 10
        async with local_rig.running(priority=7):
            for _ in range(20):
                await asyncio.sleep(0.02)
                assert (await report()).endpoint == found.endpoint
    await redis.aclose()
