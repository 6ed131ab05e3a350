"""Query while its PostgreSQL is stopped or frozen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.integration.feed.small_mesh import SmallMesh, small_mesh
from tests.support.services import PostgresProcess, ValkeyProcess
from tests.support.waiting import until

SERVICE = "artstore.v1.QueryService"


@pytest.fixture
async def mesh(
    tmp_path: Path, own_postgres: PostgresProcess, own_valkey: ValkeyProcess
) -> AsyncIterator[SmallMesh]:
    async with small_mesh(tmp_path, own_postgres.create_database(), own_valkey.url) as mesh:
        yield mesh


async def test_a_search_answers_unavailable_in_time_and_health_turns_and_returns(
    mesh: SmallMesh, own_postgres: PostgresProcess
) -> None:
    stored = await mesh.elements["se-01"].upload(original_filename="kept.txt")
    assert await mesh.found("kept", min_change_tokens=[stored.change_token])

    async def serves() -> bool:
        async with grpc.aio.insecure_channel(mesh.query_address) as channel:
            answer = await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=SERVICE), timeout=5
            )
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def does_not_serve() -> bool:
        return not await serves()

    for breaks, mends in (
        (own_postgres.stop, own_postgres.start),
        (own_postgres.freeze, own_postgres.thaw),
    ):
        await until(serves, 20)
        await asyncio.to_thread(breaks)
        started = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as down:
            await mesh.search("kept", timeout=20)
        assert down.value.code() is grpc.StatusCode.UNAVAILABLE
        assert time.monotonic() - started < 15
        await until(does_not_serve, 15)
        await asyncio.to_thread(mends)
        await until(serves, 20)
        await until(lambda: _finds(mesh, "kept"), 20)


async def _finds(mesh: SmallMesh, text: str) -> bool:
    try:
        return bool(await mesh.found(text))
    except grpc.aio.AioRpcError:
        return False
