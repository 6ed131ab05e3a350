"""Databases whose tables are there when a server starts: copies of one that was migrated.

A copy takes a tenth of what the revisions of a server take. Those are run once for each PostgreSQL
that tests share, by the server's own code; it looks at the copy as at a database that it has made
itself. Tests of revisions make their own databases, and a PostgreSQL of a test's own has no
templates: it may be frozen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import asyncpg

from mesh.postgres.creation import create_database_if_missing
from mesh.postgres.migrations import upgrade
from mesh.postgres.urls import database_name, with_database

_shared: set[str] = set()
_made: dict[tuple[str, str], str] = {}
_making = asyncio.Lock()


def share(server_url: str) -> None:
    """Copy from now on where a database of this server is to have tables."""
    _shared.add(with_database(server_url, "postgres"))


async def admin_tables(database_url: str) -> None:
    """Make the database of the admin whose other databases are beside this one."""
    await _copy("admin", database_url, _migrate_admin)


async def index_tables(database_url: str) -> None:
    """Make the database of the index that is beside this one."""
    # Imported here only, as below: each run of tests imports this module.
    from query_server.following.tables import migrate

    await _copy("query", database_url, migrate)


async def _migrate_admin(url: str) -> None:
    from admin_server.prepared_database import MIGRATION_LOCK_KEY, MIGRATIONS

    await upgrade(
        url,
        script_location=MIGRATIONS,
        version_table="alembic_version",
        lock_key=MIGRATION_LOCK_KEY,
    )


async def _copy(kind: str, database_url: str, migrate: Callable[[str], Awaitable[None]]) -> None:
    server = with_database(database_url, "postgres")
    if server not in _shared:
        return
    async with _making:
        if (kind, server) not in _made:
            template = f"template_{kind}"
            await create_database_if_missing(server, template)
            await migrate(with_database(server, template))
            _made[kind, server] = template
    connection = await asyncpg.connect(server)
    try:
        with suppress(asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
            await connection.execute(
                f'CREATE DATABASE "{database_name(database_url)}_{kind}"'
                f" TEMPLATE {_made[kind, server]} STRATEGY FILE_COPY"
            )
    finally:
        await connection.close()
