"""Admin's database: made, migrated and filled with its first accounts before it is used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import structlog

from mesh.errors import Unavailable
from mesh.postgres.creation import create_database_if_missing
from mesh.postgres.database import Database
from mesh.postgres.migrations import upgrade

MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_LOCK_KEY = 0x6172_7473_6164_6D31
MIGRATION_SECONDS = 10.0
# Callers of IssueToken wait for two seconds.
TIMEOUT_SECONDS = 1.5
# All that admin changes waits for one row (the audit's head): an admin that was stopped with it,
# or whose machine is gone, must let go soon.
SILENT_MILLISECONDS = 5000
WATCH_SECONDS = 2.0

_IS_MADE = "SELECT to_regclass('alembic_version') IS NOT NULL"

_log = structlog.stdlib.get_logger(__name__)


class PreparedDatabase(Database):
    """A database whose calls answer `Unavailable` until `prepare` has gone through once."""

    def __init__(self, url: str) -> None:
        super().__init__(
            url,
            timeout_seconds=TIMEOUT_SECONDS,
            application_name="artstore-admin",
            settings={"idle_in_transaction_session_timeout": str(SILENT_MILLISECONDS)},
        )
        self.prepared = asyncio.Event()

    @asynccontextmanager
    async def connection(self, *, patient: bool = False) -> AsyncIterator[asyncpg.Connection[Any]]:
        """As in `Database`, once the tables are there."""
        if not self.prepared.is_set():
            raise Unavailable(f"database {self.name} is not ready yet")
        async with super().connection(patient=patient) as connection:
            yield connection

    async def prepare(
        self, maintenance_url: str, fill: Callable[[Database], Awaitable[object]]
    ) -> None:
        """Make the database, bring it to the newest revision, fill it, open it to all calls.

        Args:
            maintenance_url: another database of the same server.
            fill: given a database that is open already; nobody else sees what it does before
                it is done.

        Raises:
            Unavailable: PostgreSQL does not answer; try again.
        """
        if await create_database_if_missing(maintenance_url, self.name):
            _log.info("database created", database=self.name)
        await upgrade(
            self.url,
            script_location=MIGRATIONS,
            version_table="alembic_version",
            lock_key=MIGRATION_LOCK_KEY,
            timeout_seconds=MIGRATION_SECONDS,
        )
        opened = Database(self.url, application_name="artstore-admin")
        try:
            await fill(opened)
        finally:
            await opened.close()
        self.prepared.set()

    async def watch(self, give_up: Callable[[str], None]) -> None:
        """Give up once the database was dropped, or all that was made in it: what this process
        remembers of accounts, keys and elements was that database's.

        Args:
            give_up: ends the process, with the reason.
        """
        await self.prepared.wait()
        while True:
            if await self._is_gone():
                give_up(f"database {self.name} is gone; the next start makes it anew")
                return
            await asyncio.sleep(WATCH_SECONDS)

    async def _is_gone(self) -> bool:
        try:
            return not await self.fetchval(_IS_MADE)
        except Unavailable:
            pass
        try:
            connection = await self.connect()
        except Unavailable as exc:
            return isinstance(exc.__cause__, asyncpg.InvalidCatalogNameError)
        connection.terminate()
        return False
