"""The pool against a PostgreSQL that stops, freezes and comes back."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import asyncpg
import pytest

from mesh.errors import TablesMissing, Unavailable
from mesh.postgres.creation import create_database_if_missing
from mesh.postgres.database import Database
from mesh.postgres.failures import EVERYTHING
from mesh.postgres.urls import database_name, with_database
from tests.support.services import PostgresProcess
from tests.support.waiting import until


async def seconds_until_unavailable(database: Database) -> float:
    started = time.perf_counter()
    with pytest.raises(Unavailable):
        await database.fetchval("SELECT 1")
    return time.perf_counter() - started


async def comes_back(database: Database) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                assert await database.fetchval("SELECT 1") == 1
                return
            except Unavailable:
                await asyncio.sleep(0.05)


async def test_rows_values_and_commands(database_url: str) -> None:
    database = Database(database_url)
    await database.execute("CREATE TABLE t (n int)")
    await database.executemany("INSERT INTO t VALUES ($1)", [(1,), (2,)])
    assert [row["n"] for row in await database.fetch("SELECT n FROM t ORDER BY n")] == [1, 2]
    row = await database.fetchrow("SELECT n FROM t WHERE n = $1", 2)
    assert row is not None
    assert row["n"] == 2
    assert await database.fetchrow("SELECT n FROM t WHERE n = 3") is None
    assert await database.execute("DELETE FROM t") == "DELETE 2"
    await database.close()


async def test_a_transaction_is_whole_or_not_at_all(database_url: str) -> None:
    database = Database(database_url)
    await database.execute("CREATE TABLE t (n int)")
    with pytest.raises(ValueError, match="changed my mind"):
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO t VALUES (1)")
            raise ValueError("changed my mind")
    async with database.transaction() as connection:
        await connection.execute("INSERT INTO t VALUES (2)")
    assert await database.fetchval("SELECT array_agg(n) FROM t") == [2]
    await database.close()


async def test_a_cancelled_transaction_leaves_nothing_and_the_pool_works(
    database_url: str,
) -> None:
    database = Database(database_url, max_size=1)
    await database.execute("CREATE TABLE t (n int)")
    entered = asyncio.Event()

    async def work() -> None:
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO t VALUES (1)")
            entered.set()
            await connection.execute("SELECT pg_sleep(60)", timeout=60)

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await database.fetchval("SELECT count(*) FROM t") == 0
    await database.close()


@pytest.fixture
async def complaints() -> AsyncIterator[list[str]]:
    """What is told to the event loop: it would be logged as an error whenever a server stops."""
    loop, told = asyncio.get_running_loop(), list[str]()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: told.append(context["message"]))
    yield told
    loop.set_exception_handler(before)


async def cancel_after(steps: int, work: Coroutine[Any, Any, object]) -> None:
    """Cancel `work` when the event loop has gone round so many times."""
    task = asyncio.ensure_future(work)
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])


async def test_a_transaction_that_is_cancelled_as_it_begins_or_ends_is_nothing_to_complain_of(
    database_url: str, complaints: list[str]
) -> None:
    database = Database(database_url, max_size=1)

    async def work() -> None:
        async with database.transaction() as connection:
            await connection.execute("SELECT 1")

    try:
        for steps in range(12):
            assert await database.fetchval("SELECT 1") == 1
            await cancel_after(steps, work())
        assert await database.fetchval("SELECT 1") == 1
    finally:
        await database.close()
    assert complaints == []


async def test_a_connection_that_is_cancelled_as_it_is_opened_is_nothing_to_complain_of(
    database_url: str, complaints: list[str]
) -> None:
    database = Database(database_url)
    for steps in range(12):
        await cancel_after(steps, database.connect())
    await database.close()
    gc.collect()
    assert complaints == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("replan", [False, True])
async def test_a_plan_of_when_the_table_was_empty_is_not_kept_if_told_so(
    database_url: str, replan: bool
) -> None:
    database = Database(database_url, max_size=1)
    await database.execute("CREATE TABLE t (n int PRIMARY KEY)")
    many = list(range(1000))
    for _ in range(10):
        await database.fetch("SELECT n FROM t WHERE n = ANY($1)", many, replan=replan)
    kept = await database.fetchval(
        "SELECT sum(generic_plans) FROM pg_prepared_statements WHERE statement LIKE 'SELECT n%'"
    )
    assert bool(kept) is not replan
    await database.close()


async def test_a_wrong_statement_is_not_called_unavailable(database_url: str) -> None:
    database = Database(database_url)
    with pytest.raises(asyncpg.UndefinedTableError):
        await database.fetch("SELECT * FROM nowhere")
    with pytest.raises(asyncpg.InterfaceError):
        await database.fetch("SELECT $1::int")
    assert database.available
    await database.close()


@pytest.mark.parametrize("state", ["25006", "53100"])
async def test_a_database_that_can_only_be_read_is_unavailable_and_goes_on_being_read(
    database_url: str, state: str
) -> None:
    database = Database(database_url)
    with pytest.raises(Unavailable, match="takes no writes") as caught:
        await database.execute(f"DO $$ BEGIN RAISE SQLSTATE '{state}'; END $$")
    assert caught.value.reason == "DATABASE_READ_ONLY"
    assert await database.fetchval("SELECT 1") == 1
    assert database.was_full == (state == "53100")
    await database.close()


async def test_only_a_relation_that_may_be_dropped_is_unavailable_while_it_is_missing(
    database_url: str,
) -> None:
    database = Database(database_url, droppable=["public.t", "public.t_seq"])
    for statement in ("SELECT 1 FROM public.t", "SELECT nextval('public.t_seq'::regclass)"):
        with pytest.raises(Unavailable):
            await database.fetchval(statement)
    assert database.available
    for statement in ("SELECT 1 FROM public.tt", "SELECT 1 FROM t2"):
        with pytest.raises(asyncpg.UndefinedTableError):
            await database.fetchval(statement)
    with pytest.raises(Unavailable):
        async with database.transaction() as connection:
            await connection.execute("DELETE FROM public.t")
    assert await database.fetchval("SELECT 1") == 1
    await database.close()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1 FROM public.tt",
        "SELECT n FROM public.t",
        "SELECT words('a')",
        "SELECT 'a'::words",
        "SELECT nextval('public.t_seq'::regclass)",
    ],
)
async def test_where_all_is_made_anew_whatever_is_missing_is_unavailable(
    database_url: str, statement: str
) -> None:
    database = Database(database_url, droppable=[EVERYTHING])
    await database.execute("CREATE TABLE public.t (m int)")
    with pytest.raises(TablesMissing) as caught:
        await database.fetch(statement)
    assert caught.value.reason == "TABLES_MISSING"
    assert database.available
    with pytest.raises(asyncpg.PostgresSyntaxError):
        await database.fetch("SELECT FROM WHERE")
    await database.close()


async def test_a_slow_statement_ends_in_time_and_does_not_block_others(
    database_url: str,
) -> None:
    database = Database(database_url, timeout_seconds=0.3)
    started = time.perf_counter()
    with pytest.raises(Unavailable):
        await database.execute("SELECT pg_sleep(30)")
    assert time.perf_counter() - started < 2
    await comes_back(database)
    assert database.available
    await database.close()


async def test_connections_that_are_not_needed_are_closed(
    database_url: str, postgres: PostgresProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.postgres.database.IDLE_SECONDS", 0.2)
    database = Database(database_url, application_name="idle")
    await asyncio.gather(*(database.fetchval("SELECT pg_sleep(0.05)") for _ in range(3)))
    connection = await asyncpg.connect(postgres.url)
    open_ones = "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'idle'"
    try:
        await until(lambda: connection.fetchval(open_ones))
    finally:
        await connection.close()
        await database.close()


async def test_a_full_pool_gives_up_in_time(database_url: str) -> None:
    database = Database(database_url, max_size=1, timeout_seconds=0.3)
    async with database.connection():
        assert await seconds_until_unavailable(database) < 2
    await comes_back(database)
    await database.close()


async def test_a_server_that_restarts_is_found_again(own_postgres: PostgresProcess) -> None:
    database = Database(own_postgres.url, timeout_seconds=1)
    await database.fetchval("SELECT 1")
    await asyncio.to_thread(own_postgres.stop)
    assert await seconds_until_unavailable(database) < 2
    await until(lambda: not database.available)
    assert await seconds_until_unavailable(database) < 0.1
    await asyncio.to_thread(own_postgres.start)
    await comes_back(database)
    await database.close()


async def test_a_server_that_is_down_at_first_is_no_obstacle(
    own_postgres: PostgresProcess,
) -> None:
    await asyncio.to_thread(own_postgres.stop)
    database = Database(own_postgres.url, timeout_seconds=1)
    assert await seconds_until_unavailable(database) < 2
    await asyncio.to_thread(own_postgres.start)
    await comes_back(database)
    await database.close()


async def test_killed_backends_are_not_noticed_by_readers(
    own_postgres: PostgresProcess,
) -> None:
    database = Database(own_postgres.url, max_size=1)
    await database.fetchval("SELECT 1")
    other = await asyncpg.connect(own_postgres.url)
    await other.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    await other.close()
    assert await database.fetchval("SELECT 1") == 1
    await database.close()


async def test_a_frozen_server_is_unavailable_in_time_and_comes_back(
    own_postgres: PostgresProcess,
) -> None:
    database = Database(own_postgres.url, timeout_seconds=1, max_size=4)
    await asyncio.gather(*(database.fetchval("SELECT pg_sleep(0.05)") for _ in range(4)))
    own_postgres.freeze()
    try:
        started = time.perf_counter()
        answers = await asyncio.gather(
            *(database.fetchval("SELECT 1") for _ in range(20)), return_exceptions=True
        )
        assert all(isinstance(answer, Unavailable) for answer in answers)
        assert time.perf_counter() - started < 3.5
        await until(lambda: not database.available)
        assert await seconds_until_unavailable(database) < 0.1
        with pytest.raises(Unavailable):
            await database.ping(timeout=0.3)
    finally:
        own_postgres.thaw()
    await comes_back(database)
    async with database.transaction() as connection:
        await connection.execute("CREATE TABLE t (n int)")
    await database.close()


async def test_signs_of_life_share_a_connection_that_is_made_anew_when_it_ended(
    own_postgres: PostgresProcess,
) -> None:
    database = Database(own_postgres.url)
    other = await asyncpg.connect(own_postgres.url)
    others = (
        "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    await database.ping()
    kept = await other.fetchval(f"SELECT pid {others}")
    await database.ping()
    assert await other.fetchval(f"SELECT pid {others}") == kept
    await other.execute(f"SELECT pg_terminate_backend(pid) {others}")
    await database.ping()
    assert await other.fetchval(f"SELECT pid {others}") != kept
    await other.close()
    own_postgres.freeze()
    with pytest.raises(Unavailable):
        await database.ping(timeout=0.3)
    own_postgres.thaw()
    await database.ping()
    await asyncio.gather(*(database.ping() for _ in range(3)))
    await database.close()


async def test_a_server_frozen_inside_a_transaction_ends_it_in_time(
    own_postgres: PostgresProcess,
) -> None:
    database = Database(own_postgres.url, timeout_seconds=0.5)
    await database.execute("CREATE TABLE t (n int)")
    started = 0.0
    try:
        with pytest.raises(Unavailable):
            async with database.transaction() as connection:
                await connection.execute("INSERT INTO t VALUES (1)")
                own_postgres.freeze()
                started = time.perf_counter()
                await connection.execute("INSERT INTO t VALUES (2)")
        assert time.perf_counter() - started < 2
        closing = time.perf_counter()
        await database.close()
        assert time.perf_counter() - closing < 2.5
    finally:
        own_postgres.thaw()
    other = Database(own_postgres.url)
    await comes_back(other)
    assert await other.fetchval("SELECT count(*) FROM t") == 0
    await other.close()


async def test_a_patient_statement_takes_as_long_as_the_server_lives(database_url: str) -> None:
    database = Database(database_url, timeout_seconds=0.2)
    assert await database.fetch("SELECT 1 FROM pg_sleep(1)", patient=True)
    async with database.transaction(patient=True) as connection:
        await connection.execute("SELECT pg_sleep(1)")
    with pytest.raises(Unavailable):
        await database.fetch("SELECT pg_sleep(1)")
    await database.close()


async def test_a_patient_statement_ends_when_the_server_gives_no_sign_of_life(
    own_postgres: PostgresProcess,
) -> None:
    database = Database(own_postgres.create_database(), timeout_seconds=0.3)
    try:
        async with asyncio.timeout(8):
            with pytest.raises(Unavailable):
                async with database.transaction(patient=True) as connection:
                    own_postgres.freeze()
                    await connection.execute("SELECT 1")
    finally:
        own_postgres.thaw()
    await comes_back(database)
    await database.close()


async def test_a_database_is_created_if_missing(database_url: str) -> None:
    name = database_name(database_url) + "_more"
    url = with_database(database_url, name)
    assert await create_database_if_missing(database_url, name)
    assert not await create_database_if_missing(url, name)
    database = Database(url)
    assert await database.fetchval("SELECT current_database()") == name
    await database.close()
    async with asyncio.timeout(10):
        maintenance = Database(with_database(database_url, "postgres"))
        await maintenance.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await maintenance.close()


async def test_starters_at_the_same_time_create_it_once(database_url: str) -> None:
    name = database_name(database_url) + "_once"
    made = await asyncio.gather(*(create_database_if_missing(database_url, name) for _ in range(4)))
    assert sorted(made) == [False, False, False, True]
    maintenance = Database(with_database(database_url, "postgres"))
    await maintenance.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await maintenance.close()


@pytest.mark.parametrize(
    ("url", "changed"),
    [
        ("postgresql://u:p@h:5432/a", "postgresql://u:p@h:5432/b"),
        ("postgresql://u@/a?host=/run/pg", "postgresql://u@/b?host=/run/pg"),
        ("postgresql:///a?host=/run/pg&port=5", "postgresql:///b?host=/run/pg&port=5"),
        ("postgres://h/a?sslmode=disable", "postgres://h/b?sslmode=disable"),
        ("postgresql://h", "postgresql://h/b"),
    ],
)
def test_another_database_of_the_same_server(url: str, changed: str) -> None:
    assert with_database(url, "b") == changed


async def test_both_ends_notice_within_seconds_that_the_network_between_them_is_gone(
    database_url: str,
) -> None:
    """Else PostgreSQL keeps the locks of a host that is lost for two hours."""
    database = Database(database_url)
    alone = await database.connect()
    try:
        async with database.connection() as pooled:
            for connection in (alone, pooled):
                idle, interval, count, user = [
                    await connection.fetchval(f"SHOW {name}")
                    for name in (
                        "tcp_keepalives_idle",
                        "tcp_keepalives_interval",
                        "tcp_keepalives_count",
                        "tcp_user_timeout",
                    )
                ]
                assert int(idle) + int(interval) * int(count) <= 15, "heeded on TCP only"
                assert int(user) <= 15_000
                ours = connection._transport.get_extra_info("socket")
                assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 15
    finally:
        await alone.close()
        await database.close()
