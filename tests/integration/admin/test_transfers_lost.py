"""Who works on a transfer when an admin is killed, when there are two, and when tables are lost."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import grpc
import pytest
import pytest_asyncio

from admin_server.life.homes import HomeSteps
from admin_server.life.settling import Settled
from admin_server.life.sweep import Sweep
from admin_server.transfers.queue import LeaseLost, TransferQueue
from admin_server.transfers.table import TransferTable
from admin_server.transfers.transfer import Kind, State, Wanted
from admin_server.transfers.trimming import Trimming
from artstore.v1 import lifecycle_pb2 as pb
from mesh.calls.status import from_rpc_error
from mesh.errors import NotFound, Unavailable
from mesh.postgres.database import Database
from mesh.postgres.urls import with_database
from storage_server.domain.sidecar import FileState
from tests.integration.admin.transfers import ENDED, FAST, Lifecycle, register
from tests.support.running_admin import (
    EVERYBODY,
    OTHER_ELEMENTS,
    RunningAdmin,
    grown_old,
    running_admin,
)
from tests.support.stepping_elements import Mesh, stepping_mesh
from tests.support.waiting import until

ACCOUNTS = (*EVERYBODY, *OTHER_ELEMENTS)


@pytest_asyncio.fixture(loop_scope="session")
async def mesh() -> AsyncIterator[Mesh]:
    async with stepping_mesh(se_01="edit", se_02="edit", se_03="rw") as mesh:
        yield mesh


def an_admin(database_url: str, folder: Path, **changes: object) -> object:
    return running_admin(database_url, folder, accounts=ACCOUNTS, **{**FAST, **changes})


@asynccontextmanager
async def tables(database_url: str) -> AsyncIterator[Database]:
    """Admin's database, as a further admin has it."""
    name = database_url.rpartition("/")[2] + "_admin"
    database = Database(with_database(database_url, name))
    try:
        yield database
    finally:
        await database.close()


@pytest_asyncio.fixture(loop_scope="session")
async def database(database_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    """Admin's tables, while no admin runs."""
    async with running_admin(database_url, tmp_path, accounts=ACCOUNTS):
        pass
    await grown_old(database_url)
    async with tables(database_url) as database:
        yield database


def wanted(file_id: str, source: str = "se-01", target: str = "se-02") -> Wanted:
    return Wanted(
        kind=Kind.MOVE,
        file_id=file_id,
        namespace="default",
        source=source,
        target=target,
        size_bytes=5,
        requested_by="admin",
        request_id="",
    )


def queue_of(database: Database, *, per_element: int = 4, lease: float = 30.0) -> TransferQueue:
    return TransferQueue(database, per_element=per_element, lease_seconds=lease)


async def test_whoever_looks_at_the_record_waits_for_nobody_who_writes_it(
    database: Database,
) -> None:
    async with database.transaction() as connection:
        await connection.execute("SELECT FROM home_record FOR UPDATE")
        async with asyncio.timeout(2):
            assert not (await HomeSteps(database).of("any")).may_be_making_home


async def test_what_one_has_claimed_no_other_gets_before_the_lease_ends(
    database: Database,
) -> None:
    table = TransferTable(database)
    transfer = await table.add(wanted("one"))
    assert (await table.add(wanted("one"))).transfer_id == transfer.transfer_id
    claims = await asyncio.gather(*(queue_of(database, lease=0.3).claim() for _ in range(5)))
    (first,) = [claim for claim in claims if claim is not None]
    second = None
    async with asyncio.timeout(10):
        while second is None:
            second = await queue_of(database).claim()
    assert (first.transfer.attempts, second.transfer.attempts) == (1, 2)
    queue = queue_of(database)
    for write in (
        queue.renew(first),
        queue.switches(first),
        queue.completed(first, ""),
        queue.failed(first, "late"),
    ):
        with pytest.raises(LeaseLost):
            await write
    await queue.renew(second)
    assert (await table.get(transfer.transfer_id)).state is State.QUEUED


async def test_an_element_takes_part_in_so_many_transfers_at_a_time(database: Database) -> None:
    table, queue = TransferTable(database), queue_of(database, per_element=2)
    for file_id, target in (("a", "se-02"), ("b", "se-03"), ("c", "se-04")):
        await table.add(wanted(file_id, target=target))
    other = await table.add(wanted("d", source="se-05", target="se-04"))
    claims = [await queue.claim() for _ in range(4)]
    got = [claim.transfer for claim in claims if claim is not None]
    assert [one.file_id for one in got] == ["a", "b", "d"]
    assert got[-1].transfer_id == other.transfer_id


async def test_what_a_killed_admin_had_is_taken_up_by_another(
    database: Database, database_url: str, tmp_path: Path, mesh: Mesh
) -> None:
    file_id = mesh["se-01"].store()
    transfer = await TransferTable(database).add(wanted(file_id))
    claim = await queue_of(database, lease=1.0).claim()
    assert claim is not None
    async with an_admin(database_url, tmp_path) as admin:  # type: ignore[attr-defined]
        await mesh.report_to(admin)
        moved = await ended(Lifecycle(admin), transfer.transfer_id)
    assert moved.state == pb.TRANSFER_STATE_COMPLETED
    assert moved.attempts > claim.transfer.attempts
    assert mesh["se-02"].state(file_id) == "active"


async def test_two_admins_share_the_work_and_take_each_step_once(
    database_url: str, tmp_path: Path, mesh: Mesh
) -> None:
    files = [mesh["se-01"].store() for _ in range(12)]
    async with AsyncExitStack() as stack:
        lives = []
        for name in ("one", "two"):
            folder = tmp_path / name
            await asyncio.to_thread(folder.mkdir)
            admin: RunningAdmin = await stack.enter_async_context(
                an_admin(database_url, folder)  # type: ignore[arg-type]
            )
            await grown_old(database_url)
            await mesh.report_to(admin)
            lives.append(Lifecycle(admin))
        moves = await asyncio.gather(
            *(lives[n % 2].move(file_id, "se-02") for n, file_id in enumerate(files)),
            *(lives[(n + 1) % 2].move(file_id, "se-02") for n, file_id in enumerate(files)),
        )
        assert len({one.transfer_id for one in moves}) == len(files)
        for move in moves[: len(files)]:
            done = await ended(lives[0], move.transfer_id)
            assert done.state == pb.TRANSFER_STATE_COMPLETED
    assert {mesh["se-02"].state(file_id) for file_id in files} == {"active"}
    assert {mesh["se-01"].state(file_id) for file_id in files} == {"moved"}
    assert all(mesh["se-02"].sidecars[file_id].revision == 2 for file_id in files)
    assert mesh["se-02"].calls.count("Activate") == len(files)


async def test_so_many_files_move_at_a_time(database_url: str, tmp_path: Path, mesh: Mesh) -> None:
    files, go_on, target = [mesh["se-01"].store() for _ in range(3)], asyncio.Event(), mesh["se-02"]
    target.before["pulled"] = go_on.wait
    async with an_admin(database_url, tmp_path, transfers=2) as admin:  # type: ignore[attr-defined]
        await grown_old(database_url)
        await mesh.report_to(admin)
        life = Lifecycle(admin)
        moves = [await life.move(file_id, "se-02") for file_id in files]
        await until(lambda: target.calls.count("PullFile") == 2)
        states = [(await life.get(move.transfer_id)).state for move in moves]
        assert states.count(pb.TRANSFER_STATE_QUEUED) == 1
        go_on.set()
        for move in moves:
            await ended(life, move.transfer_id)


async def test_a_switch_is_ended_from_the_sidecars_alone_when_admin_s_tables_are_lost(
    database_url: str, tmp_path: Path, mesh: Mesh
) -> None:
    source, target = mesh["se-01"], mesh["se-02"]
    file_id = source.store()

    async def fail() -> None:
        raise ConnectionError("down")

    target.before["Activate"] = fail
    async with an_admin(database_url, tmp_path) as admin:  # type: ignore[attr-defined]
        await grown_old(database_url)
        await mesh.report_to(admin)
        await Lifecycle(admin).move(file_id, "se-02")
        await until(lambda: "Activate" in target.calls)
    await drop(database_url)
    calls_before = len(target.calls)
    target.before.clear()
    assert (source.state(file_id), target.state(file_id)) == ("moved", "incoming")
    lives = {"decisions_live_seconds": 1.0, "first_home_step_seconds": 1.0}
    started = time.monotonic()
    async with an_admin(database_url, tmp_path, **lives) as admin:  # type: ignore[attr-defined]
        await mesh.report_to(admin)
        await register(database_url, mesh, file_id)
        await until(lambda: target.state(file_id) == "active")
        # What the lost tables knew of may have been taken until then.
        assert time.monotonic() - started >= 1.0
        assert (await Lifecycle(admin).list()).total_size == 0
    assert target.calls[calls_before:] == ["Activate"]
    assert (source.state(file_id), target.sidecars[file_id].revision) == ("moved", 2)


async def test_a_transfer_says_how_long_it_waits_because_admins_tables_are_new(
    database_url: str, tmp_path: Path, mesh: Mesh
) -> None:
    file_id = mesh["se-01"].store()
    # It may be about to become the home, for all that the tables know.
    mesh["se-02"].sidecars[file_id] = replace(
        mesh["se-01"].sidecars[file_id], state=FileState.INCOMING
    )
    mesh["se-02"].blobs[file_id] = mesh["se-01"].blobs[file_id]
    began = datetime.now(UTC)
    async with an_admin(database_url, tmp_path) as admin:  # type: ignore[attr-defined]
        await mesh.report_to(admin)
        life = Lifecycle(admin)
        move = await life.move(file_id, "se-02")

        async def says_why() -> bool:
            return bool((await life.get(move.transfer_id)).error)

        await until(says_why)
        found = re.search(r"are new .* before (\d\d:\d\d:\d\d)Z$", await _error(life, move))
        assert found is not None
        at = time_of_day.fromisoformat(found[1])
        ends = began + timedelta(seconds=FAST["first_home_step_seconds"])
        assert 0 <= (datetime.combine(ends, at, tzinfo=UTC) - ends).total_seconds() % 86_400 < 20
        await grown_old(database_url)
        done = await ended(life, move.transfer_id)
        assert (done.state, done.error) == (pb.TRANSFER_STATE_COMPLETED, "")


async def test_what_can_be_on_no_way_yet_moves_at_once_though_admins_tables_are_new(
    database_url: str, tmp_path: Path, mesh: Mesh
) -> None:
    file_id, other = mesh["se-01"].store(), mesh["se-01"].store()
    async with an_admin(database_url, tmp_path) as admin:  # type: ignore[attr-defined]
        await mesh.report_to(admin)
        life = Lifecycle(admin)
        began = time.monotonic()
        done = await ended(life, (await life.finalize(file_id)).transfer_id)
        assert done.state == pb.TRANSFER_STATE_COMPLETED
        assert time.monotonic() - began < FAST["first_home_step_seconds"]
        # What an element that is silent has is not known.
        mesh["se-03"].before["GetFile"] = _down
        move = await life.move(other, "se-02")
        await until(lambda: mesh["se-02"].state(other) == "incoming")
        mesh["se-03"].before.clear()
        await until(lambda: _says(life, move, "are new"))
        assert mesh["se-01"].state(other) == "active"


async def _down() -> None:
    raise ConnectionError("down")


async def _says(life: Lifecycle, transfer: pb.Transfer, words: str) -> bool:
    return words in await _error(life, transfer)


async def _error(life: Lifecycle, transfer: pb.Transfer) -> str:
    return (await life.get(transfer.transfer_id)).error


async def test_of_two_homes_the_later_one_stays(
    database_url: str, tmp_path: Path, mesh: Mesh
) -> None:
    source, target = mesh["se-01"], mesh["se-02"]
    file_id = source.store()
    backup = source.sidecars[file_id]
    async with an_admin(database_url, tmp_path) as admin:  # type: ignore[attr-defined]
        await grown_old(database_url)
        await mesh.report_to(admin)
        move = await Lifecycle(admin).move(file_id, "se-02")
        await ended(Lifecycle(admin), move.transfer_id)
        source.sidecars[file_id] = backup
        await register(database_url, mesh, file_id)
        await until(lambda: source.state(file_id) == "gone")
    assert target.state(file_id) == "active"


async def test_a_look_for_unfinished_moves_costs_no_more_for_more_files(
    database: Database, database_url: str, tmp_path: Path, mesh: Mesh
) -> None:
    """A slice of all files at a time: what is on the way is found at once, two homes in turn."""
    switched, doubled = mesh["se-01"].store(), mesh["se-01"].store()
    first, second = mesh["se-01"].sidecars, mesh["se-02"].sidecars
    for file_id in (switched, doubled):
        second[file_id], mesh["se-02"].blobs[file_id] = first[file_id], b"bytes"
    second[switched] = replace(second[switched], state=FileState.INCOMING)
    first[switched] = replace(first[switched], state=FileState.MOVED, moved_to="se-02", revision=2)
    second[doubled] = replace(second[doubled], revision=2)
    for file_id in (switched, doubled):
        await register(database_url, mesh, file_id)
    await database.execute(
        "INSERT INTO file_registry SELECT (json_populate_record(file_registry, json_build_object("
        "'file_id', '00000000-' || n))).* FROM file_registry, generate_series(1, 30000) AS n"
        " WHERE file_id = $1 AND storage_element_id = 'se-02'",
        doubled,
        timeout=60,
    )
    asked: list[str] = []

    async def settle(file_id: str) -> Settled:
        asked.append(file_id)
        raise Unavailable("only looked for")

    settling: Any = SimpleNamespace(settle=settle)
    sweep = Sweep(database, settling, seconds=60, rows_of_all=10_000)
    assert [await sweep.once() for _ in range(4)] == [1, 1, 1, 3]
    assert asked[:4] == [switched] * 4
    assert sorted(asked[4:]) == sorted([switched, doubled])


async def test_what_ended_long_ago_is_forgotten(database: Database) -> None:
    table = TransferTable(database)
    wanted = Wanted(
        kind=Kind.MOVE,
        file_id="file",
        namespace="default",
        source="se-01",
        target="se-01",
        size_bytes=1,
        requested_by="alice",
        request_id="r",
    )
    old, recent = [await table.add(wanted, done=True) for _ in range(2)]
    await database.execute(
        "UPDATE transfers SET created_at = created_at - interval '91 days',"
        " ended_at = ended_at - interval '91 days' WHERE transfer_id = $1",
        old.transfer_id,
    )
    trimming = Trimming(database, keep=timedelta(days=90))
    assert await trimming.trim() >= 1
    assert (await table.get(recent.transfer_id)).ended_at is not None
    with pytest.raises(NotFound):
        await table.get(old.transfer_id)


async def ended(life: Lifecycle, transfer_id: str) -> pb.Transfer:
    async def has_ended() -> bool:
        return (await life.get(transfer_id)).state in ENDED

    await until(has_ended)
    return await life.get(transfer_id)


async def drop(database_url: str) -> None:
    """Admin's database is no more."""
    name = database_url.rpartition("/")[2] + "_admin"
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await connection.close()


async def test_claims_stay_quick_with_20_000_transfers_in_the_queue_and_serve_all_accounts(
    database: Database,
) -> None:
    table, queue = TransferTable(database), queue_of(database, per_element=2)
    await database.execute(
        "INSERT INTO transfers (transfer_id, kind, file_id, namespace, source, target, state,"
        " size_bytes, requested_by, request_id, next_attempt_at, created_at)"
        " SELECT 't' || n, 'finalize', 'f' || n, 'default', 'se-01', 'se-0' || 2 + n % 3, 'queued',"
        " 5, 'greedy', '', now(), now() - make_interval(secs => 30000 - n)"
        " FROM generate_series(1, 20000) AS n",
        timeout=60,
    )
    await table.add(wanted("hers", source="se-07", target="se-08"))
    began = time.monotonic()
    claims = [await queue.claim() for _ in range(8)]
    took = time.monotonic() - began
    got = [claim.transfer.file_id for claim in claims if claim is not None]
    # Two of se-01, and the one that came last, of another account, before the second of these.
    assert got == ["f1", "hers", "f2"]
    assert took < 2.0


async def test_an_account_has_so_many_transfers_under_way_and_admins_more(
    database_url: str, tmp_path: Path, mesh: Mesh
) -> None:
    limit = {"transfers_per_account": 2, "transfers": 1}
    async with an_admin(database_url, tmp_path, **limit) as admin:  # type: ignore[attr-defined]
        await grown_old(database_url)
        await mesh.report_to(admin)
        life, held = Lifecycle(admin), asyncio.Event()
        mesh["se-03"].before["pulled"] = held.wait
        under_way = [await life.finalize(mesh["se-01"].store()) for _ in range(2)]
        third = mesh["se-01"].store()
        before = mesh["se-01"].sidecars[third]
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await life.finalize(third)
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert from_rpc_error(error.value).reason == "TOO_MANY_TRANSFERS"
        assert mesh["se-01"].sidecars[third] == before
        # A whole element is emptied by ADMIN.
        under_way += [await life.move(mesh["se-01"].store(), "se-02") for _ in range(3)]
        held.set()
        for transfer in under_way:
            await ended(life, transfer.transfer_id)
        await ended(life, (await life.finalize(third)).transfer_id)


async def test_how_long_tickets_and_what_is_left_over_live_is_set(
    database_url: str, tmp_path: Path, mesh: Mesh
) -> None:
    source, target, third = mesh["se-01"], mesh["se-02"], mesh["se-03"]
    file_id = source.store()
    third.sidecars[file_id] = replace(source.sidecars[file_id], state=FileState.INCOMING)
    asked_again = asyncio.Event()

    async def hold_up() -> None:
        if target.calls.count("PullFile") > 1:
            asked_again.set()
        await asked_again.wait()

    target.before["pulled"] = hold_up
    set_to = {"ticket_seconds": 1, "moved_keep_hours": 1e-6, "incoming_keep_days": 1e-6}
    async with an_admin(database_url, tmp_path, **set_to) as admin:  # type: ignore[attr-defined]
        await grown_old(database_url)
        await mesh.report_to(admin)
        move = await Lifecycle(admin).move(file_id, "se-02")
        await ended(Lifecycle(admin), move.transfer_id)
        await until(lambda: source.state(file_id) == third.state(file_id) == "gone")
        assert (await Lifecycle(admin).list()).total_size == 1
    async with an_admin(database_url, tmp_path, transfer_keep_days=1e-9) as admin:  # type: ignore[attr-defined]
        await until(lambda: _forgotten(Lifecycle(admin)))


async def _forgotten(life: Lifecycle) -> bool:
    return (await life.list()).total_size == 0
