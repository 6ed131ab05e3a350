"""Whatever breaks, and for how long: index and registry equal the elements in the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from artstore.v1 import storage_pb2, types_pb2
from tests.integration.feed.by_hand import put_files, repair
from tests.integration.feed.small_mesh import SmallMesh, fetch, in_parallel, small_mesh
from tests.support.services import PostgresProcess, ValkeyProcess
from tests.support.storage_rig import Node
from tests.support.waiting import until

BOTH = ("se-01", "se-02")


@pytest.fixture(scope="module")
async def shared_two(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresProcess, mesh_valkey: ValkeyProcess
) -> AsyncIterator[SmallMesh]:
    url = postgres.create_database()
    folder = tmp_path_factory.mktemp("two")
    async with small_mesh(folder, url, mesh_valkey.url, elements=BOTH) as mesh:
        yield mesh
    postgres.drop_database(url)


@pytest.fixture
async def two(shared_two: SmallMesh) -> AsyncIterator[SmallMesh]:
    """A mesh of two elements; registry, index and elements agree after each test."""
    yield shared_two
    await shared_two.agree()


@pytest.fixture
async def breakable(
    tmp_path: Path, own_postgres: PostgresProcess, own_valkey: ValkeyProcess
) -> AsyncIterator[SmallMesh]:
    """The same on a PostgreSQL and a Valkey that the test may stop."""
    url = own_postgres.create_database()
    async with small_mesh(tmp_path, url, own_valkey.url, elements=BOTH) as mesh:
        yield mesh
        await mesh.agree(60)


async def change_some(node: Node, number: int) -> None:
    """An upload, an update, and a delete that is or is not undone: four changes or three."""
    file_id = (await node.upload(original_filename=f"{number}.txt")).file.file_id
    await node.call(
        "UpdateFile",
        storage_pb2.UpdateFileRequest(file_id=file_id, file=types_pb2.File(description="new")),
        timeout=30,
    )
    await node.call("DeleteFile", storage_pb2.DeleteFileRequest(file_id=file_id), timeout=30)
    if number % 2:
        await node.call("UndeleteFile", storage_pb2.UndeleteFileRequest(file_id=file_id))


async def epochs(mesh: SmallMesh) -> dict[str, str]:
    found = {}
    for element_id in mesh.rigs:
        head = mesh.tables(element_id).feed_head
        (row,) = await fetch(mesh.database_url, f"SELECT epoch FROM {head}")
        found[element_id] = row["epoch"]
    return found


async def drop_element_tables(mesh: SmallMesh, element_id: str) -> None:
    """As an operator might; the element makes them anew, fills them, and has a new epoch."""
    before = (await epochs(mesh))[element_id]
    tables = mesh.tables(element_id)
    names = ", ".join((*tables.all(), f"public.{tables.version}"))
    await fetch(mesh.database_url, f"DROP TABLE {names} CASCADE")

    async def made_anew() -> bool:
        try:
            return (await epochs(mesh))[element_id] != before
        except (asyncpg.UndefinedTableError, ValueError):
            return False

    await until(made_anew, 30)


async def _takes_uploads(node: Node) -> bool:
    try:
        await node.upload(original_filename="again.txt")
    except Exception:
        return False
    return True


async def all_take_uploads(mesh: SmallMesh) -> None:
    for element_id in BOTH:
        await until(partial(_takes_uploads, mesh.elements[element_id]), 30)


async def change_on_both(mesh: SmallMesh, first: int) -> None:
    """Some changes; `first` keeps their names apart from others."""
    nodes = [mesh.elements[element_id] for element_id in BOTH]
    await in_parallel(6, lambda n: change_some(nodes[n % 2], first + n))


async def test_everything_breaks_under_followers_and_while_query_is_away(
    breakable: SmallMesh, own_postgres: PostgresProcess, own_valkey: ValkeyProcess
) -> None:
    await change_on_both(breakable, 0)
    await breakable.agree(60)
    await _break_under_followers(breakable, own_postgres, own_valkey)
    await breakable.agree(60)
    await breakable.stop("query")
    await _break_while_query_is_away(breakable, own_postgres, own_valkey)
    await breakable.start_query()
    await change_on_both(breakable, 400)
    await repair(breakable.elements["se-02"])
    assert await breakable.agree(90) > 1900


async def _break_under_followers(
    mesh: SmallMesh, own_postgres: PostgresProcess, own_valkey: ValkeyProcess
) -> None:
    await asyncio.to_thread(own_valkey.freeze)
    stored = await mesh.elements["se-01"].upload(original_filename="without a hint.txt")
    # Valkey only wakes; the feed alone says what happened.
    assert await mesh.found("hint", min_change_tokens=[stored.change_token])
    await asyncio.to_thread(own_valkey.thaw)
    await asyncio.to_thread(own_valkey.flush)
    await asyncio.to_thread(own_postgres.stop)
    await asyncio.to_thread(own_postgres.start)
    await mesh.stop("se-02")
    await mesh.start_element("se-02")
    await all_take_uploads(mesh)
    await drop_element_tables(mesh, "se-02")
    await all_take_uploads(mesh)
    await change_on_both(mesh, 100)


async def _break_while_query_is_away(
    mesh: SmallMesh, own_postgres: PostgresProcess, own_valkey: ValkeyProcess
) -> None:
    for element_id in BOTH:
        await put_files(mesh.elements[element_id], 960)
        await repair(mesh.elements[element_id])
    await asyncio.to_thread(own_valkey.stop)
    await change_on_both(mesh, 200)
    await asyncio.to_thread(own_valkey.start)
    await asyncio.to_thread(own_postgres.stop)
    await mesh.stop("se-02")
    await asyncio.to_thread(own_postgres.start)
    await mesh.start_element("se-02")
    await all_take_uploads(mesh)
    # Rows go and are put back: followers must neither lose nor keep what they should not.
    files = mesh.tables("se-02").files
    await fetch(mesh.database_url, f"UPDATE {files} SET cache_updated_at = '2026-01-01'")
    cleaned = await repair(mesh.elements["se-02"], "CleanupExpired")
    assert cleaned.deleted_count > 900
    await drop_element_tables(mesh, "se-01")
    await all_take_uploads(mesh)
    await change_on_both(mesh, 300)


async def test_a_rebuild_from_sidecars_reaches_followers_that_are_connected(
    two: SmallMesh,
) -> None:
    node, tables = two.elements["se-02"], two.tables("se-02")
    lost = [await node.upload(original_filename=f"lost {n}.txt") for n in range(3)]
    gone = (await node.upload(original_filename="gone.txt")).file.file_id
    await two.agree()
    before = await epochs(two)
    await fetch(two.database_url, f"DELETE FROM {tables.files} WHERE file_id <> '{gone}'")
    await put_files(node, 20, prefix="by hand")
    for path in node.rig.root.rglob(f"*{gone}*"):
        path.unlink()
    result = await repair(node, "RebuildCache", max_delete_ratio=1.0)
    assert result.result.statistics.entries_created >= 23
    assert await epochs(two) == before
    await two.agree()
    assert len(await two.found("hand")) == 20
    assert len(await two.found("lost")) == len(lost)


async def test_a_late_commit_is_not_skipped(two: SmallMesh) -> None:
    node, tables = two.elements["se-01"], two.tables("se-01")
    stored = await node.upload(original_filename="slow.txt")
    await two.agree()
    connection = await asyncpg.connect(two.database_url)
    try:
        async with connection.transaction():
            # As a write that has its place in the feed and is slow to commit.
            sequence = await connection.fetchval(
                f"UPDATE {tables.feed_head} SET seq = seq + 1 RETURNING seq"
            )
            await connection.execute(
                f"UPDATE {tables.files} SET description = 'zebra', sequence = $1"
                " WHERE file_id = $2",
                sequence,
                stored.file.file_id,
            )
            await connection.execute(
                f"INSERT INTO {tables.feed} (sequence, change_id, kind, file_id)"
                " VALUES ($1, gen_random_uuid(), 'updated', $2)",
                sequence,
                stored.file.file_id,
            )
            assert not await two.found("zebra")
            quick = asyncio.create_task(node.upload(original_filename="quick.txt"))
            assert (await asyncio.wait({quick}, timeout=0.5))[0] == set()
        token = (await quick).change_token
        assert int(token.rsplit(".", 1)[1]) > sequence
        assert await two.found("zebra", min_change_tokens=[token]) == ["slow.txt"]
    finally:
        await connection.close()
    await two.agree()


async def test_an_open_transaction_in_another_database_of_the_server_delays_nothing(
    two: SmallMesh, postgres: PostgresProcess
) -> None:
    elsewhere = postgres.create_database()
    connection = await asyncpg.connect(elsewhere)
    try:
        async with connection.transaction():
            await connection.execute("CREATE TABLE held (n int)")
            await connection.execute("INSERT INTO held VALUES (1)")
            stored = await two.elements["se-01"].upload(original_filename="delayed.txt")
            assert await two.found("delayed", min_change_tokens=[stored.change_token])
    finally:
        await connection.close()
        postgres.drop_database(elsewhere)
