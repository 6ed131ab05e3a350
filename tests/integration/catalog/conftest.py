"""A migrated catalog on the real PostgreSQL: a shared one that is emptied, or one's own.

What single files need of it (`storage_server.catalog.port`) is tested `on_both`, PostgreSQL and
memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from mesh.postgres.database import Database
from storage_server.catalog.catalog import Catalog
from storage_server.catalog.tables import Tables
from tests.integration.catalog.back_door import MEMORY, POSTGRESQL
from tests.support.memory_catalog import MemoryCatalog
from tests.support.services import PostgresProcess

TABLES = Tables("storage_elem_01_")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url, max_size=12)
    yield opened
    await opened.close()


@pytest.fixture
async def own_catalog(database: Database) -> Catalog:
    """In a database of its own: the test may drop what it likes."""
    opened = Catalog(database, TABLES)
    await opened.open()
    return opened


@pytest.fixture(scope="session")
async def shared_catalog(postgres: PostgresProcess) -> AsyncIterator[Catalog]:
    database = Database(postgres.create_database(), max_size=12)
    opened = Catalog(database, TABLES)
    await opened.open()
    yield opened
    await database.close()
    postgres.drop_database(database.url)


@pytest.fixture
def catalog(request: pytest.FixtureRequest) -> Catalog | MemoryCatalog:
    """As empty as a new one; in PostgreSQL unless the test is marked `on_both`."""
    if getattr(request, "param", POSTGRESQL) == MEMORY:
        return MemoryCatalog()
    emptied: Catalog = request.getfixturevalue("emptied_catalog")
    return emptied


@pytest.fixture
async def emptied_catalog(shared_catalog: Catalog) -> Catalog:
    for statement in (
        f"TRUNCATE {TABLES.files}, {TABLES.feed}, {TABLES.pending}, {TABLES.uploads},"
        f" {TABLES.pulls}, {TABLES.feed_head}, {TABLES.fences}",
        f"INSERT INTO {TABLES.feed_head} DEFAULT VALUES",
        f"INSERT INTO {TABLES.fences} DEFAULT VALUES",
        f"ALTER SEQUENCE {TABLES.fence_sequence} RESTART",
    ):
        await shared_catalog.database.execute(statement)
    return shared_catalog
