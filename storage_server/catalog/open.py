"""Making sure that an element's tables are there, and all of them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

from mesh.errors import TablesMissing
from mesh.postgres.database import Database
from mesh.postgres.migrations import upgrade
from storage_server.catalog.tables import Tables

_MIGRATIONS = Path(__file__).parent / "migrations"


@dataclass(frozen=True, slots=True)
class OpenedTables:
    """`created`: the tables are new and empty, with a new epoch; files are in the store only."""

    created: bool
    epoch: str


async def open_tables(database: Database, tables: Tables) -> OpenedTables:
    """Migrate an element's tables, and make them anew if some are missing.

    A feed whose history is lost must not go on under its old epoch: when a table is missing
    although the version table knows the element, all of them are dropped and made again.

    Raises:
        Unavailable: PostgreSQL does not answer.
    """
    known = await _exist(database, f"public.{tables.version}")
    created = not known
    if not known:
        await _drop(database, tables)
    await _upgrade(database, tables)
    epoch = await _epoch(database, tables)
    if epoch is None:
        created = True
        await _drop(database, tables)
        await _upgrade(database, tables)
        epoch = await _epoch(database, tables)
    return OpenedTables(created=created, epoch=str(epoch))


async def tables_present(database: Database, tables: Tables) -> bool:
    """Whether all tables of the element are there now, and the rows that each element has."""
    return await _exist(database, *tables.all(), tables.fence_sequence) and bool(
        await database.fetchval(
            f"SELECT EXISTS (SELECT FROM {tables.fences})"
            f" AND EXISTS (SELECT FROM {tables.feed_head})"
        )
    )


async def tables_still_present(database: Database, tables: Tables) -> bool:
    """As `tables_present`, by one statement. PostgreSQL logs an error where some are missing."""
    try:
        return bool(
            await database.fetchval(
                "SELECT (SELECT bool_and(to_regclass(name) IS NOT NULL)"
                " FROM unnest($1::text[]) name)"
                f" AND EXISTS (SELECT FROM {tables.fences})"
                f" AND EXISTS (SELECT FROM {tables.feed_head})",
                [*tables.all(), tables.fence_sequence],
            )
        )
    except TablesMissing:
        return False


async def element_is_known(database: Database, tables: Tables) -> bool:
    """Whether the database has any of the tables, or knows that it had them."""
    names = (*tables.all(), f"public.{tables.version}")
    return any([await _exist(database, name) for name in names])


async def _exist(database: Database, *names: str) -> bool:
    return bool(
        await database.fetchval(
            "SELECT bool_and(to_regclass(name) IS NOT NULL) FROM unnest($1::text[]) name", names
        )
    )


async def _epoch(database: Database, tables: Tables) -> str | None:
    """The feed's epoch; None when anything that the element needs is missing."""
    if not await tables_present(database, tables):
        return None
    epoch: str | None = await database.fetchval(f"SELECT epoch FROM {tables.feed_head}")
    return epoch


async def _upgrade(database: Database, tables: Tables) -> None:
    await upgrade(
        database.url,
        script_location=_MIGRATIONS,
        version_table=tables.version,
        attributes={"prefix": tables.prefix},
        lock_key=zlib.crc32(tables.prefix.encode()),
    )


async def _drop(database: Database, tables: Tables) -> None:
    async with database.transaction() as connection:
        for table in (*tables.all(), f"public.{tables.version}"):
            await connection.execute(f"DROP TABLE IF EXISTS {table} CASCADE")
        await connection.execute(f"DROP SEQUENCE IF EXISTS {tables.fence_sequence}")
