"""The index's tables: made by migrations, and made again whenever one of them is missing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from mesh.follower.schema import table_names
from mesh.follower.tables import RebuildableTables
from mesh.postgres.creation import create_database_if_missing
from mesh.postgres.database import Database
from mesh.postgres.migrations import upgrade
from query_server.following import totals
from query_server.migrations import words
from query_server.search.index import TABLE
from query_server.search.session import check_letters
from query_server.settings import QuerySettings

MIGRATIONS = Path(__file__).parent.parent / "migrations"
MIGRATION_LOCK = 0x41525451  # "ARTQ"
VERSION_TABLE = "query_alembic_version"
CURSORS = "sync"
# Those of older versions, too.
FUNCTIONS = (*words.NAMES, totals.FUNCTION, "artstore_search_vector", "artstore_text")


async def migrate(url: str) -> None:
    """Make the tables in a database that is there, or bring them up to date."""
    await upgrade(
        url,
        script_location=MIGRATIONS,
        version_table=VERSION_TABLE,
        lock_key=MIGRATION_LOCK,
    )


def index_tables(
    database: Database, settings: QuerySettings, *, on_made: Callable[[], Awaitable[None]]
) -> RebuildableTables:
    """The tables of the index, in a database that is made as well.

    Args:
        on_made: called whenever they were made, or found to be up to date.
    """

    async def make() -> None:
        await create_database_if_missing(settings.database_url, settings.index_name)
        await migrate(settings.index_url)
        await check_letters(database)
        await on_made()

    names = [VERSION_TABLE, totals.TOTALS, *table_names(TABLE, CURSORS)]
    return RebuildableTables(
        database,
        names=names,
        drop=(
            f"DROP TABLE IF EXISTS {', '.join(names)} CASCADE",
            f"DROP FUNCTION IF EXISTS {', '.join(FUNCTIONS)} CASCADE",
        ),
        make=make,
        lock_key=MIGRATION_LOCK,
    )
