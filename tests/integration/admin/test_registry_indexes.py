"""A registry of an earlier version gets its indexes while it is used, however long that takes."""

from __future__ import annotations

import asyncio
from typing import Any

from admin_server.registry.indexes import LOCK_KEY, index_statements, make_indexes
from mesh.postgres.database import Database
from mesh.postgres.urls import database_name
from tests.support.services import PostgresProcess

NAMES = sorted(statement.split()[2] for statement in index_statements())


async def valid(database: Database) -> list[str]:
    rows = await database.fetch(
        "SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
        " WHERE indrelid = 'file_registry'::regclass AND indisvalid AND relname = ANY($1)"
        " ORDER BY relname",
        NAMES,
    )
    return [row["relname"] for row in rows]


async def test_indexes_that_are_missing_or_half_made_are_made(
    admin_tables: Database, postgres: PostgresProcess
) -> None:
    assert await valid(admin_tables) == NAMES
    await admin_tables.execute("DROP INDEX file_registry_due, file_registry_erased")
    await asyncio.to_thread(
        postgres.cluster.psql,
        "UPDATE pg_index SET indisvalid = false"
        " WHERE indexrelid = 'file_registry_copies'::regclass",
        database=database_name(admin_tables.url),
    )
    assert len(await valid(admin_tables)) == len(NAMES) - 3
    assert await make_indexes(admin_tables)
    assert await valid(admin_tables) == NAMES


async def test_files_are_registered_while_an_index_is_made(admin_tables: Database) -> None:
    await admin_tables.execute("DROP INDEX file_registry_due")
    async with admin_tables.connection() as connection:
        # Whoever changes a row now holds up the end of it, as any who reads; it holds up nobody.
        transaction: Any = connection.transaction()
        await transaction.start()
        await connection.execute("LOCK TABLE file_registry IN ROW EXCLUSIVE MODE")
        making = asyncio.create_task(make_indexes(admin_tables))
        waits = "SELECT EXISTS (SELECT FROM pg_stat_progress_create_index)"
        while not await admin_tables.fetchval(waits):
            assert not making.done()
        await admin_tables.execute("UPDATE file_registry SET revision = revision")
        await transaction.rollback()
    assert await making
    assert await valid(admin_tables) == NAMES


async def test_one_admin_at_a_time_makes_them(admin_tables: Database) -> None:
    async with admin_tables.connection() as connection:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
        assert not await make_indexes(admin_tables)
        await connection.execute("SELECT pg_advisory_unlock($1)", LOCK_KEY)
    assert await make_indexes(admin_tables)
