"""What a query server answers while its tables are brought up to date."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mesh.calls.status import from_rpc_error
from mesh.errors import ArtStoreError
from mesh.postgres.creation import create_database_if_missing
from mesh.postgres.migrations import upgrade
from query_server import app
from query_server.following.tables import MIGRATION_LOCK, MIGRATIONS, VERSION_TABLE
from tests.integration.feed.small_mesh import SmallMesh
from tests.support.waiting import until


@pytest.fixture
async def mesh(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[SmallMesh]:
    """Whose index is of an earlier version, and whose query server is not started yet."""
    made = SmallMesh(tmp_path, database_url, redis_url)
    before = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, before)
    for revision in (before / "versions").glob("0*_*"):
        if revision.name >= "0006":
            revision.unlink()
    try:
        await made.start_admin()
        await create_database_if_missing(database_url, made.query_url.rpartition("/")[2])
        await upgrade(
            made.query_url,
            script_location=before,
            version_table=VERSION_TABLE,
            lock_key=MIGRATION_LOCK,
        )
        yield made
    finally:
        await made.stop_all()


async def test_an_index_is_not_searched_before_it_is_brought_up_to_date(
    mesh: SmallMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if the migration took longer than the port may stay closed.
    monkeypatch.setattr(app, "PREPARE_SECONDS", 0.1)
    other = await asyncpg.connect(mesh.query_url)
    await other.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
    try:
        await mesh.start_query()
        assert not await _is_serving(mesh)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await mesh.search("text")
        error: ArtStoreError = from_rpc_error(refused.value)
        assert error.reason == "TABLES_MISSING" and "up to date" in error.message
    finally:
        other.terminate()

    async def serves() -> bool:
        return await _is_serving(mesh)

    await until(serves)
    assert (await mesh.search("text")).total_count == 0


async def _is_serving(mesh: SmallMesh) -> bool:
    async with grpc.aio.insecure_channel(mesh.query_address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=app.SERVICE), timeout=5)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
