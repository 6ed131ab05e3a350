"""What is done on elements is on record once, whatever happens to tables, feeds and admins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest

from admin_server.audit import following
from admin_server.audit.cursors import AuditCursors
from admin_server.audit.following import AuditFollowing
from artstore.v1 import accounts_pb2, changes_pb2
from mesh.postgres.database import Database
from storage_server.feed import history
from storage_server.reporting import reports
from storage_server.upkeep import trimming
from tests.integration.feed.audited_mesh import AuditedMesh, audited_mesh
from tests.integration.feed.by_hand import put_files, repair
from tests.integration.feed.small_mesh import fetch
from tests.support.services import PostgresProcess, ValkeyProcess
from tests.support.waiting import until

THREE = ("se-01", "se-02", "se-03")
KEPT = 10


@pytest.fixture(scope="module")
def quick() -> Iterator[None]:
    """What goes on by the clock goes on often."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history, "POLL_SECONDS", 0.1)
        patch.setattr(trimming, "INTERVAL_SECONDS", 0.2)
        patch.setattr(reports, "REPORT_INTERVAL_SECONDS", 0.3)
        patch.setattr(following, "RENEW_SECONDS", 0.2)
        patch.setattr(following, "MAX_PAUSE_SECONDS", 0.3)
        yield


@pytest.fixture(scope="module")
async def shared(
    tmp_path_factory: pytest.TempPathFactory,
    postgres: PostgresProcess,
    mesh_valkey: ValkeyProcess,
    quick: None,
) -> AsyncIterator[AuditedMesh]:
    """A mesh of one element that keeps few changes."""
    url, folder = postgres.create_database(), tmp_path_factory.mktemp("audited")
    async with audited_mesh(
        folder, url, mesh_valkey.url, elements=["se-01"], feed_keep_changes=KEPT
    ) as mesh:
        yield mesh
    postgres.drop_database(url)


@pytest.fixture
async def one(shared: AuditedMesh) -> AuditedMesh:
    """The same with all on record, whatever the test before did, and no hole yet."""
    await shared.change_some(1)
    await shared.compare()
    shared.holes_before = len(await shared.all_holes())
    return shared


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
        await mesh.change_some(part)
        await mesh.fork_admin()
        for how in ("RebuildCacheIncremental", "RebuildCache", "CleanupExpired"):
            await put_files(mesh.elements["se-01"], part)
            await asyncio.gather(mesh.change_some(part), repair(mesh.elements["se-01"], how))
        changing = asyncio.create_task(mesh.change_some(2 * part))
        for _ in range(part // 100):
            await asyncio.sleep(0.5)
            await mesh.kill_admin()
            await mesh.fork_admin()
        await asyncio.sleep(0.2)
        await mesh.kill_admin()
        await changing
        # Rows go, and are put back by a rebuild that nobody is blamed for.
        await fetch(mesh.database_url, f"TRUNCATE {mesh.tables('se-02').files}")
        await repair(mesh.elements["se-02"], "RebuildCache")
        await mesh.change_some(part)
        await mesh.stop("se-03")
        await mesh.start_element("se-03")
        await mesh.change_some(changes - 8 * part)
        await mesh.fork_admin()
        assert len(mesh.done) == changes
        await mesh.compare()
        assert await mesh.holes() == []


async def test_tables_that_are_lost_are_a_hole_and_all_goes_on_after_it(one: AuditedMesh) -> None:
    await one.change_some(5)
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
    await one.change_some(5)
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
    async with one.nobody_following():
        before = len(one.done)
        await one.change_some(4)
        await fetch(one.database_url, f"TRUNCATE {one.tables().feed}")
        one.lost += one.done[before:]
        await one.change_some(3)
    await one.compare()
    assert [(hole["reason"], hole["lost"]) for hole in await one.holes()] == [("TRIMMED", "4")]
    # Whoever follows next knows the place by what came after.
    await one.pass_lead()
    await one.change_some(2)
    await one.compare()
    assert len(await one.holes()) == 1


async def test_a_feed_that_was_restored_tells_nothing_twice_and_all_that_is_new(
    one: AuditedMesh,
) -> None:
    await one.change_some(6, at_once=1)
    await one.compare()
    async with one.nobody_following():
        # As a backup that is three changes older; what follows uses their positions again.
        tables = one.tables()
        (head,) = await fetch(one.database_url, f"SELECT seq FROM {tables.feed_head}")
        old = head["seq"] - 3
        await fetch(one.database_url, f"DELETE FROM {tables.feed} WHERE sequence > {old}")
        await fetch(one.database_url, f"UPDATE {tables.feed_head} SET seq = {old}")
        await fetch(one.database_url, f"UPDATE {tables.files} SET sequence = {old}")
        for _ in range(5):
            await one.upload("se-01")
    await one.compare()
    assert [hole["reason"] for hole in await one.holes()] == ["RESTORED"]


async def test_entries_missing_in_the_middle_are_one_hole(one: AuditedMesh) -> None:
    async with one.nobody_following():
        await one.change_some(6, at_once=1)
        (head,) = await fetch(one.database_url, f"SELECT seq FROM {one.tables().feed_head}")
        await fetch(
            one.database_url,
            f"DELETE FROM {one.tables().feed} WHERE sequence IN ($1, $2)",
            head["seq"] - 3,
            head["seq"] - 2,
        )
        one.lost += one.done[-4:-2]
    await one.compare()
    assert [(hole["reason"], hole["lost"]) for hole in await one.holes()] == [("TRIMMED", "2")]


async def test_a_lost_place_in_the_feed_tells_nothing_twice(one: AuditedMesh) -> None:
    await one.change_some(5)
    await one.compare()
    await fetch(one.admin_url, "TRUNCATE audit_cursors")
    await one.change_some(5)
    await one.compare()


async def test_of_two_that_follow_each_tells_what_the_other_one_has_not(one: AuditedMesh) -> None:
    database = Database(one.admin_url)
    endpoint = one.elements["se-01"].server.endpoint

    async def metadata(element_id: str) -> Any:
        return one.bearer()

    second = AuditFollowing(
        AuditCursors(database, leader="the second one"),
        elements=lambda: {"se-01": endpoint},
        open_channel=grpc.aio.insecure_channel,
        metadata=metadata,
        refused=lambda element_id: None,
    )
    running = asyncio.create_task(second.run())
    leaders = set[str]()

    async def both_have_led() -> bool:
        await one.change_some(3, at_once=2)
        (row,) = await fetch(one.admin_url, "SELECT leader FROM audit_cursors")
        if row["leader"]:
            leaders.add(row["leader"])
            await one.pass_lead()
        return len(leaders) == 2

    await until(both_have_led, 30)
    running.cancel()
    await asyncio.wait([running])
    await database.close()
    await one.compare()
    assert await one.holes() == []


async def test_nothing_is_trimmed_before_it_is_on_record(one: AuditedMesh) -> None:
    async with one.nobody_following():
        # A restart forgets how far the audit is.
        await one.stop("se-01")
        await one.start_element("se-01")
        before = len(one.done)
        await one.change_some(2 * KEPT)
        await asyncio.sleep(0.5)
        (row,) = await fetch(one.database_url, f"SELECT count(*) AS n FROM {one.tables().feed}")
        assert row["n"] > len(one.done) - before
    await one.compare()
    assert await one.holes() == []

    async def trimmed() -> bool:
        (row,) = await fetch(one.database_url, f"SELECT count(*) AS n FROM {one.tables().feed}")
        return bool(row["n"] == KEPT)

    await until(trimmed, 20)


async def test_audit_wait_days_ends_the_wait_and_what_is_lost_is_a_hole(one: AuditedMesh) -> None:
    async with one.nobody_following():
        before = len(one.done)
        await one.change_some(KEPT + 3)
        feed = one.tables().feed
        await fetch(one.database_url, f"UPDATE {feed} SET created_at = now() - interval '31 days'")

        async def trimmed() -> bool:
            (row,) = await fetch(one.database_url, f"SELECT count(*) AS n FROM {feed}")
            return bool(row["n"] == KEPT)

        await until(trimmed, 20)
        one.lost += one.done[before : before + 3]
    await one.compare()
    assert [(hole["reason"], hole["lost"]) for hole in await one.holes()] == [("TRIMMED", "3")]


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
