"""An element that a module's tests share or have for themselves, and an empty replica table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from mesh.postgres.database import Database
from tests.support.following import Following, make_tables
from tests.support.services import PostgresProcess, ValkeyProcess
from tests.support.storage_rig import Node, Rig


@pytest.fixture(scope="module")
async def shared_element(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresProcess, valkey: ValkeyProcess
) -> AsyncIterator[Node]:
    url = postgres.create_database()
    rig = Rig(tmp_path_factory.mktemp("element"), database_url=url, redis_url=valkey.url)
    async with rig.running() as node:
        yield node
    postgres.drop_database(url)


@pytest.fixture
async def own_rig(tmp_path: Path, database_url: str, redis_url: str) -> Rig:
    return Rig(tmp_path, database_url=database_url, redis_url=redis_url)


@pytest.fixture
async def own_element(own_rig: Rig) -> AsyncIterator[Node]:
    async with own_rig.running() as node:
        yield node


@pytest.fixture
async def replica_database(postgres: PostgresProcess) -> AsyncIterator[Database]:
    database = Database(postgres.create_database())
    await make_tables(database, "follow")
    yield database
    await database.close()
    postgres.drop_database(database.url)


@pytest.fixture
def follow(replica_database: Database) -> Callable[..., Following]:
    """Makes a process that follows; several of them are replicas of one server."""

    def make(node: Node, **options: Any) -> Following:
        return Following(node, replica_database, "follow", **options)

    return make
