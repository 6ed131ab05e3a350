"""An admin server that the tests of a module share, and a fresh one for those that need it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from admin_server.prepared_database import PreparedDatabase
from mesh.postgres.database import Database
from tests.integration.admin.audited import EVERYBODY, Audited
from tests.support.running_admin import ManualClock, RunningAdmin, running_admin
from tests.support.services import PostgresProcess


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared_admin(
    postgres: PostgresProcess, tmp_path_factory: object
) -> AsyncIterator[RunningAdmin]:
    """One admin for the module; leave its accounts alone and make your own."""
    url = postgres.create_database()
    folder: Path = tmp_path_factory.mktemp("admin")  # type: ignore[attr-defined]
    async with running_admin(url, folder) as admin:
        yield admin
    postgres.drop_database(url)


@pytest_asyncio.fixture(loop_scope="session")
async def clock() -> ManualClock:
    return ManualClock()


@pytest_asyncio.fixture(loop_scope="session")
async def admin(
    database_url: str, tmp_path: Path, clock: ManualClock
) -> AsyncIterator[RunningAdmin]:
    """An admin of the test's own, whose clock the test may put forward."""
    async with running_admin(database_url, tmp_path, now=clock) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def audited(database_url: str, tmp_path: Path) -> AsyncIterator[Audited]:
    async with running_admin(database_url, tmp_path, accounts=EVERYBODY) as admin:
        yield Audited(admin, database_url, tmp_path)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared_audited(
    postgres: PostgresProcess, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Audited]:
    """One whose chain no test breaks."""
    url, folder = postgres.create_database(), tmp_path_factory.mktemp("audited")
    async with running_admin(url, folder, accounts=EVERYBODY) as admin:
        yield Audited(admin, url, folder)
    postgres.drop_database(url)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def admin_tables(postgres: PostgresProcess) -> AsyncIterator[Database]:
    """Admin's tables, without an admin."""
    url = postgres.create_database()
    database = PreparedDatabase(f"{url}_admin")
    await database.prepare(url, _no_accounts)
    yield database
    await database.close()
    postgres.drop_database(url)


async def _no_accounts(database: Database) -> None:
    """None is needed."""
