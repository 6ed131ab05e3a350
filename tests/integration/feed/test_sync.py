"""The index and the registry are rebuilt from the elements, and say how far they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import asyncpg
import grpc
import pytest

from artstore.v1 import query_pb2
from mesh.elements import discovery
from mesh.follower import follower, lag
from mesh.follower.schema import table_names
from mesh.redis import open_redis
from query_server.following import sync
from storage_server.upkeep import trimming
from tests.integration.feed.by_hand import put_files, repair
from tests.integration.feed.small_mesh import SmallMesh, fetch, in_parallel, small_mesh
from tests.support.services import PostgresProcess, ValkeyProcess
from tests.support.waiting import until

BOTH = ("se-01", "se-02")


@pytest.fixture(scope="module")
async def shared_two(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresProcess, mesh_valkey: ValkeyProcess
) -> AsyncIterator[SmallMesh]:
    url = postgres.create_database()
    folder = tmp_path_factory.mktemp("two")
    async with small_mesh(folder, url, mesh_valkey.url, elements=BOTH) as mesh:
        for element_id in BOTH:
            await mesh.elements[element_id].upload(original_filename=f"first of {element_id}.txt")
        await mesh.agree()
        yield mesh
    postgres.drop_database(url)


@pytest.fixture
async def two(shared_two: SmallMesh) -> AsyncIterator[SmallMesh]:
    """A mesh of two elements; registry, index and elements agree after each test."""
    yield shared_two
    await shared_two.agree()


async def drop_index(mesh: SmallMesh) -> None:
    name = mesh.query_url.rpartition("/")[2]
    await fetch(mesh.database_url, f'DROP DATABASE "{name}" WITH (FORCE)')


async def rebuild_a_dropped_index(mesh: SmallMesh, files: int, seconds: float) -> None:
    for element_id in BOTH:
        await put_files(mesh.elements[element_id], files // 2)
        await repair(mesh.elements[element_id])
    await mesh.agree(seconds)
    await drop_index(mesh)
    incomplete = asyncio.create_task(_says_incomplete(mesh))

    async def synced() -> query_pb2.SyncIndexResponse | None:
        try:
            answer: query_pb2.SyncIndexResponse = await mesh.sync(timeout=seconds)
        except grpc.aio.AioRpcError as error:
            # No tables yet.
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            return None
        return answer

    started = asyncio.get_running_loop().time()
    answer = None
    while answer is None:
        answer = await synced()
        await asyncio.sleep(0.1)
    assert asyncio.get_running_loop().time() - started < seconds
    assert answer.file_count >= files
    assert [one.storage_element_id for one in answer.elements] == list(BOTH)
    assert all(one.complete and one.lag_changes == 0 for one in answer.elements)
    assert (await mesh.search()).index_complete
    await mesh.agree()
    assert await asyncio.wait_for(incomplete, 1)


async def _says_incomplete(mesh: SmallMesh) -> bool:
    """Until the index is whole again every answer says so or is UNAVAILABLE."""
    told = False
    while True:
        try:
            if (await mesh.search()).index_complete:
                assert await mesh.found("first") != []
                return told
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE
        told = True
        await asyncio.sleep(0.05)


@pytest.mark.full
async def test_a_dropped_index_of_a_hundred_thousand_files_is_rebuilt_within_a_minute(
    tmp_path: Path, database_url: str, own_valkey: ValkeyProcess
) -> None:
    async with small_mesh(tmp_path, database_url, own_valkey.url, elements=BOTH) as mesh:
        for element_id in BOTH:
            await mesh.elements[element_id].upload(original_filename="first.txt")
        await rebuild_a_dropped_index(mesh, 100_000, 60)


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TABLE sync_cursors",
        "TRUNCATE file_metadata_cache",
        "TRUNCATE sync_cursors",
        "DROP FUNCTION artstore_words CASCADE; DROP TABLE sync_seen",
    ],
)
async def test_the_index_comes_back_by_itself(two: SmallMesh, damage: str) -> None:
    await _damaged(two.query_url, damage)
    await until(lambda: _has_tables(two.query_url, "file_metadata_cache", "sync"))
    await two.agree()
    assert (await two.search()).index_complete


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TABLE registry_cursors, registry_seen",
        "TRUNCATE file_registry",
    ],
)
async def test_the_registry_comes_back_by_itself(two: SmallMesh, damage: str) -> None:
    await _damaged(two.admin_url, damage)
    await until(lambda: _has_tables(two.admin_url, "file_registry", "registry"))
    await two.agree()
    # Accounts are no part of it.
    assert await two.admin.issue("reader")


async def _damaged(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _has_tables(url: str, table: str, prefix: str) -> bool:
    names = table_names(table, prefix)
    found = await fetch(url, "SELECT to_regclass(n) AS oid FROM unnest($1::text[]) n", names)
    return all(row["oid"] is not None for row in found)


async def test_sync_reads_one_element_or_all_and_counts_what_differed(two: SmallMesh) -> None:
    def findings(element_id: str) -> float:
        return float(lag.FINDINGS.labels(element_id)._value.get())

    before = {element_id: findings(element_id) for element_id in BOTH}
    await fetch(
        two.query_url,
        "UPDATE file_metadata_cache SET description = 'false'"
        " WHERE original_filename LIKE 'first%'",
    )
    answer = await two.sync("se-02")
    assert [one.storage_element_id for one in answer.elements] == ["se-02"]
    assert await two.found("false") == ["first of se-01.txt"]
    answer = await two.sync()
    assert [one.storage_element_id for one in answer.elements] == list(BOTH)
    assert await two.found("false") == []
    assert {name: findings(name) - before[name] for name in BOTH} == dict.fromkeys(BOTH, 1)


async def test_an_element_that_nobody_knows_is_not_found(two: SmallMesh) -> None:
    for method, request in (
        ("SyncIndex", query_pb2.SyncIndexRequest(storage_element_id="se-99")),
        ("GetSyncStatus", query_pb2.GetSyncStatusRequest(storage_element_id="se-99")),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await getattr(two.query, method)(request, metadata=two.bearer(), timeout=10)
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


async def test_an_empty_change_token_is_refused(two: SmallMesh) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await two.search(min_change_tokens=[""])
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_search_without_a_deadline_does_not_wait_for_ever(
    two: SmallMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "WAIT_SECONDS", 0.3)
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await two.query.SearchFiles(
            query_pb2.SearchFilesRequest(min_change_tokens=["se-01.another-epoch.1"]),
            metadata=two.bearer(),
        )
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_followers_have_connections_of_their_own(two: SmallMesh) -> None:
    await two.search()
    names = await fetch(
        two.query_url, "SELECT DISTINCT application_name AS n FROM pg_stat_activity"
    )
    assert {"artstore query", "artstore query search"} <= {row["n"] for row in names}


async def test_metrics_tell_of_applied_changes_and_lag(two: SmallMesh) -> None:
    applied = lag.APPLIED.labels("se-02")._value.get()
    stored = await two.elements["se-02"].upload(original_filename="counted.txt")
    await two.search(min_change_tokens=[stored.change_token])
    await two.agree()
    # Registry and index follow in this one process.
    assert lag.APPLIED.labels("se-02")._value.get() == applied + 2
    (gauge,) = [m for m in lag.CHANGES.collect() if m.name == "artstore_follower_lag_changes"]
    assert {s.labels["element"]: s.value for s in gauge.samples} == dict.fromkeys(BOTH, 0)


async def test_an_element_that_is_down_is_told_of_and_catches_up(
    two: SmallMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    await two.stop("se-02")
    with pytest.raises(grpc.aio.AioRpcError) as down:
        await two.sync(timeout=5)
    assert down.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "se-02" in str(down.value.details())
    status = {one.storage_element_id: one for one in (await two.sync_status()).elements}
    assert status["se-01"].last_error == ""
    assert "UNAVAILABLE" in status["se-02"].last_error
    assert status["se-02"].lag_seconds > 0
    # What was read of it stays, and is complete as far as it goes.
    assert status["se-02"].complete
    assert await two.found("first") != []
    await two.start_element("se-02")
    await two.elements["se-02"].upload(original_filename="back.txt")
    await two.agree()


async def test_an_index_that_is_new_while_an_element_is_down_says_that_it_is_incomplete(
    two: SmallMesh, valkey: ValkeyProcess
) -> None:
    await two.stop("query")
    await two.stop("se-02")
    await drop_index(two)
    valkey.flush()
    await until(lambda: _reports(two, "se-01"))
    await two.start_query()

    async def has_one() -> bool:
        return {one.storage_element_id for one in (await two.sync_status()).elements} >= {"se-01"}

    await until(has_one)
    assert not (await two.search()).index_complete
    await asyncio.sleep(1.0)
    answer = await two.search()
    assert not answer.index_complete
    assert {one.storage_element_id for one in (await two.sync_status()).elements} == set(BOTH)
    await two.start_element("se-02")


async def _reports(mesh: SmallMesh, element_id: str) -> bool:
    redis = open_redis(mesh.redis_url)
    try:
        return bool(await redis.exists(discovery.REPORT_KEY_PREFIX + element_id))
    finally:
        await redis.aclose()


async def test_the_interval_of_whole_snapshots_is_a_setting(
    two: SmallMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "RENEW_SECONDS", 0.1)
    await two.stop("query")
    await two.start_query(reconcile_seconds=0.5)
    await fetch(two.query_url, "UPDATE file_metadata_cache SET description = 'untrue'")

    async def repaired() -> bool:
        return await two.found("untrue") == []

    await until(repaired)
    await two.stop("query")
    monkeypatch.undo()
    await two.start_query()


async def test_a_dropped_index_is_rebuilt_while_the_elements_are_idle(two: SmallMesh) -> None:
    await rebuild_a_dropped_index(two, 2_000, 60)
    # The planner knows the new table.
    counted = await fetch(
        two.query_url, "SELECT reltuples FROM pg_class WHERE relname = 'file_metadata_cache'"
    )
    assert counted[0]["reltuples"] > 1500


async def test_feed_keep_changes_decides_whether_a_late_follower_reads_a_snapshot(
    tmp_path: Path, database_url: str, own_valkey: ValkeyProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trimming, "INTERVAL_SECONDS", 0.2)
    async with small_mesh(
        tmp_path, database_url, own_valkey.url, elements=BOTH, feed_keep_changes=5
    ) as mesh:
        await mesh.agree()
        await mesh.stop("query")
        await in_parallel(8, lambda n: mesh.elements["se-01"].upload())
        await mesh.elements["se-02"].upload()
        feed = mesh.tables("se-01").feed

        async def trimmed() -> bool:
            (row,) = await fetch(mesh.database_url, f"SELECT count(*) AS n FROM {feed}")
            return bool(row["n"] == 5)

        await until(trimmed)
        before = await _snapshot_times(mesh)
        await mesh.start_query()
        await mesh.agree()
        after = await _snapshot_times(mesh)
        assert after["se-01"] > before["se-01"]
        assert after["se-02"] == before["se-02"]
        # A tail that keeps up is not disturbed by trimming.
        for _ in range(7):
            stored = await mesh.elements["se-01"].upload()
            await mesh.search(min_change_tokens=[stored.change_token])
        await until(trimmed)
        assert await _snapshot_times(mesh) == after


async def _snapshot_times(mesh: SmallMesh) -> dict[str, datetime]:
    rows = await fetch(mesh.query_url, "SELECT * FROM sync_cursors")
    return {row["storage_element_id"]: row["snapshot_at"] for row in rows}
