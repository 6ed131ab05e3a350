"""The index's tables: made by migrations, and made again whenever one of them is missing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from mesh.follower.schema import table_names
from mesh.follower.tables import RebuildableTables
from mesh.postgres.database import Database
from query_server.migrations import words
from query_server.search.index import TABLE

VERSION_TABLE = "query_alembic_version"
CURSORS = "sync"
# Those of older versions, too.
FUNCTIONS = (*words.NAMES, "artstore_search_vector", "artstore_text")


def index_tables(
    database: Database, make: Callable[[], Awaitable[None]], *, lock_key: int
) -> RebuildableTables:
    """The tables of the index; arguments as of `RebuildableTables`."""
    names = [VERSION_TABLE, *table_names(TABLE, CURSORS)]
    return RebuildableTables(
        database,
        names=names,
        drop=(
            f"DROP TABLE IF EXISTS {', '.join(names)} CASCADE",
            f"DROP FUNCTION IF EXISTS {', '.join(FUNCTIONS)} CASCADE",
        ),
        make=make,
        lock_key=lock_key,
    )
