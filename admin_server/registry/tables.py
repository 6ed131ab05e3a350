"""The registry's tables in admin's database: made by a migration, and again when missing."""

from __future__ import annotations

from admin_server.registry.indexes import index_statements
from admin_server.registry.registry import CURSORS, TABLE
from mesh.follower.schema import create_statements, table_names
from mesh.follower.tables import RebuildableTables
from mesh.postgres.database import Database

LOCK_KEY = 0x6172_7473_7265_6731


def registry_statements() -> list[str]:
    """SQL that makes them."""
    return [
        *create_statements(TABLE, CURSORS),
        f"CREATE INDEX ON {TABLE} (created_at, file_id) WHERE state <> 'deleted'",
        *index_statements(),
    ]


def drop_statement() -> str:
    """SQL that removes what is left of them."""
    return f"DROP TABLE IF EXISTS {', '.join(table_names(TABLE, CURSORS))} CASCADE"


def registry_tables(database: Database) -> RebuildableTables:
    """The tables of the registry in `database`, once its migrations have run."""

    async def make() -> None:
        async with database.transaction() as tx:
            await tx.execute("SELECT pg_advisory_xact_lock($1)", LOCK_KEY)
            if await tx.fetchval("SELECT to_regclass($1) IS NULL", TABLE):
                for statement in registry_statements():
                    await tx.execute(statement)

    return RebuildableTables(
        database,
        names=table_names(TABLE, CURSORS),
        drop=(drop_statement(),),
        make=make,
        lock_key=LOCK_KEY,
    )
