"""What is done on elements is on record once, whatever happens to tables, feeds and admins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest

from artstore.v1 import accounts_pb2, changes_pb2
from storage_server.feed import history
from storage_server.upkeep import trimming
from tests.integration.feed.audited_mesh import AuditedMesh, audited_mesh
from tests.integration.feed.by_hand import put_files, repair
from tests.integration.feed.small_mesh import fetch
from tests.support.running_admin import running_admin
from tests.support.services import ValkeyProcess
from tests.support.waiting import until

THREE = ("se-01", "se-02", "se-03")


@pytest.fixture
async def one(
    tmp_path: Path, database_url: str, own_valkey: ValkeyProcess, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[AuditedMesh]:
    """A mesh of one element."""
    monkeypatch.setattr(history, "POLL_SECONDS", 0.1)
    async with audited_mesh(tmp_path, database_url, own_valkey.url, elements=["se-01"]) as mesh:
        yield mesh


@pytest.mark.parametrize(
    "changes", [200, pytest.param(5000, marks=[pytest.mark.full, pytest.mark.timeout(900)])]
)
async def test_each_change_is_on_record_once_whatever_happens_meanwhile(
    tmp_path: Path, database_url: str, own_valkey: ValkeyProcess, changes: int
) -> None:
    part = changes // 10
    async with audited_mesh(tmp_path, database_url, own_valkey.url, elements=THREE) as mesh:
        await mesh.change_some(part)
        await mesh.stop("admin")
        # Nobody follows.
        await mesh.change_some(part)
        await mesh.fork_admin()
        for how in ("RebuildCacheIncremental", "RebuildCache", "CleanupExpired"):
            await put_files(mesh.elements["se-01"], part)
            await asyncio.gather(mesh.change_some(part), repair(mesh.elements["se-01"], how))
        killed = asyncio.create_task(mesh.change_some(2 * part))
        for _ in range(2):
            await asyncio.sleep(0.05 * part**0.5)
            await mesh.kill_admin()
            await mesh.fork_admin()
        await killed
        # Rows go, and are put back by a rebuild that nobody is blamed for.
        await mesh.caught_up()
        await fetch(mesh.database_url, f"TRUNCATE {mesh.tables('se-02').files}")
        await repair(mesh.elements["se-02"], "RebuildCache")
        await mesh.change_some(part)
        await mesh.stop("se-03")
        await mesh.kill_admin()
        await mesh.start_element("se-03")
        await mesh.change_some(changes - 8 * part)
        await mesh.fork_admin()
        assert len(mesh.done) == changes
        await mesh.compare()
        assert await mesh.holes() == []


async def test_tables_that_are_lost_are_a_hole_and_all_goes_on_after_it(one: AuditedMesh) -> None:
    await one.change_some(12)
    await one.compare()
    tables = one.tables()
    (before,) = await fetch(one.database_url, f"SELECT epoch, seq FROM {tables.feed_head}")
    await fetch(one.database_url, f"TRUNCATE {tables.feed_head}")

    async def made_anew() -> bool:
        try:
            rows = await fetch(one.database_url, f"SELECT epoch FROM {tables.feed_head}")
        except asyncpg.UndefinedTableError:
            return False
        return bool(rows) and rows[0]["epoch"] != before["epoch"]

    await until(made_anew, 30)
    await until(lambda: _takes_changes(one), 30)
    await one.change_some(12)
    await one.compare()
    (hole,) = await one.holes()
    assert (hole["element"], hole["reason"]) == ("se-01", "TABLES_LOST")
    assert hole["broke_after"].startswith(f"{before['epoch']}.{before['seq']}.")


async def _takes_changes(mesh: AuditedMesh) -> bool:
    try:
        await mesh.upload("se-01")
    except grpc.aio.AioRpcError:
        return False
    return True


async def test_a_feed_that_was_emptied_is_a_hole_that_says_how_many_are_lost(
    one: AuditedMesh,
) -> None:
    await one.change_some(5)
    await one.compare()
    await one.stop("admin")
    before = len(one.done)
    await one.change_some(4)
    await fetch(one.database_url, f"TRUNCATE {one.tables().feed}")
    lost = one.done[before:]
    await one.change_some(3)
    await one.fork_admin()
    await one.compare(lost=lost)
    assert [(hole["reason"], hole["lost"]) for hole in await one.holes()] == [("TRIMMED", "4")]
    # The next admin knows the place by what came after.
    await one.kill_admin()
    await one.fork_admin()
    await one.change_some(2)
    await one.compare(lost=lost)
    assert len(await one.holes()) == 1


async def test_entries_missing_in_the_middle_are_one_hole(one: AuditedMesh) -> None:
    await one.change_some(3)
    await one.compare()
    await one.stop("admin")
    await one.change_some(6, at_once=1)
    (head,) = await fetch(one.database_url, f"SELECT seq FROM {one.tables().feed_head}")
    await fetch(
        one.database_url,
        f"DELETE FROM {one.tables().feed} WHERE sequence IN ($1, $2)",
        head["seq"] - 3,
        head["seq"] - 2,
    )
    lost = one.done[-4:-2]
    await one.fork_admin()
    await one.compare(lost=lost)
    assert [(hole["reason"], hole["lost"]) for hole in await one.holes()] == [("TRIMMED", "2")]


async def test_a_feed_that_was_restored_tells_nothing_twice_and_all_that_is_new(
    one: AuditedMesh,
) -> None:
    await one.change_some(6, at_once=1)
    await one.compare()
    await one.stop("admin")
    # As a backup that is three changes older; what follows uses their positions again.
    tables = one.tables()
    (head,) = await fetch(one.database_url, f"SELECT seq FROM {tables.feed_head}")
    await fetch(one.database_url, f"DELETE FROM {tables.feed} WHERE sequence > {head['seq'] - 3}")
    await fetch(one.database_url, f"UPDATE {tables.feed_head} SET seq = {head['seq'] - 3}")
    await fetch(one.database_url, f"UPDATE {tables.files} SET sequence = 1")
    for _ in range(5):
        await one.upload("se-01")
    await one.fork_admin()
    await one.compare()
    assert [hole["reason"] for hole in await one.holes()] == ["RESTORED"]


async def test_a_lost_place_in_the_feed_tells_nothing_twice(one: AuditedMesh) -> None:
    await one.change_some(10)
    await one.compare()
    await fetch(one.admin_url, "TRUNCATE audit_cursors")
    await one.change_some(5)
    await one.compare()


async def test_of_two_admins_one_follows_and_the_other_one_takes_over(one: AuditedMesh) -> None:
    folder = one.folder / "second"
    folder.mkdir()
    async with running_admin(one.database_url, folder, redis_url=one.redis_url) as second:
        await one.change_some(10)
        await one.compare()
        changing = asyncio.create_task(one.change_some(20))
        await one.stop("admin")
        await changing
        one.port = second.server.port
        await one.compare()
        assert await one.holes() == []


async def test_nothing_is_trimmed_before_it_is_on_record(
    tmp_path: Path, database_url: str, own_valkey: ValkeyProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trimming, "INTERVAL_SECONDS", 0.2)
    async with audited_mesh(
        tmp_path, database_url, own_valkey.url, elements=["se-01"], feed_keep_changes=2
    ) as mesh:
        await mesh.change_some(10)
        await mesh.compare()
        await mesh.stop("admin")
        # A restart forgets how far the audit is.
        await mesh.stop("se-01")
        await mesh.start_element("se-01")
        await mesh.change_some(20)
        await asyncio.sleep(0.5)
        await mesh.fork_admin()
        await mesh.compare()
        assert await mesh.holes() == []

        async def trimmed() -> bool:
            (row,) = await fetch(
                mesh.database_url, f"SELECT count(*) AS n FROM {mesh.tables().feed}"
            )
            return bool(row["n"] == 2)

        await until(trimmed, 20)


async def test_the_history_is_for_those_who_may_see_all_namespaces(one: AuditedMesh) -> None:
    made = await one.admin.accounts.CreateServiceAccount(
        accounts_pb2.CreateServiceAccountRequest(
            client_id="narrow", role=accounts_pb2.ROLE_SERVICE, namespaces=["some"]
        ),
        metadata=one.bearer(),
        timeout=10,
    )
    token = await one.admin.issue("narrow", made.client_secret)
    call: Any = one.elements["se-01"].stub.WatchChanges(
        changes_pb2.WatchChangesRequest(changes_only=True),
        metadata=one.bearer(token),
        timeout=10,
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call.read()
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
