"""The index's tables: made at the start, and again when somebody dropped them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from mesh.database import Database
from mesh.errors import ArtStoreError, Unavailable
from query_server.search.index import TABLE

WATCH_SECONDS = 1.0
VERSION_TABLE = "query_alembic_version"
TABLES = (TABLE, "sync_cursors", "sync_seen")
FUNCTIONS = ("artstore_search_vector", "artstore_text", "artstore_words")

_log = structlog.stdlib.get_logger(__name__)


class IndexTables:
    """Makes sure that the tables are there; everything in them is rebuilt from the elements.

    Args:
        database: the index.
        make: makes database and tables, what is there stays.
    """

    def __init__(self, database: Database, make: Callable[[], Awaitable[None]]) -> None:
        self._database = database
        self._make = make
        self.ready = asyncio.Event()

    async def ensure(self) -> None:
        """Make what is missing.

        Raises:
            Unavailable: PostgreSQL is down or silent.
        """
        if not self.ready.is_set():
            # Asking a database that was never made would count as an outage.
            await self._make()
        missing = await self._missing()
        if missing:
            _log.warning("the index was dropped, it is made again", missing=missing)
            tables = ", ".join((VERSION_TABLE, *TABLES))
            await self._database.execute(f"DROP TABLE IF EXISTS {tables} CASCADE")
            await self._database.execute(f"DROP FUNCTION IF EXISTS {', '.join(FUNCTIONS)} CASCADE")
        if missing is None or missing:
            await self._make()
        self.ready.set()

    async def first(self, seconds: float) -> None:
        """`ensure`, given up after so long: what is down now is waited for by `watch`."""
        with suppress(ArtStoreError, TimeoutError):
            async with asyncio.timeout(seconds):
                await self.ensure()

    async def watch(self) -> None:
        """Look again and again until cancelled."""
        told = ""
        while True:
            try:
                await self.ensure()
                told = ""
            except ArtStoreError as exc:
                if exc.message != told:
                    told = exc.message
                    _log.warning("the index is not available", reason=exc.message)
            await asyncio.sleep(WATCH_SECONDS)

    async def _missing(self) -> list[str] | None:
        """Tables that are not there; None when the database itself may be missing."""
        try:
            rows = await self._database.fetch(
                "SELECT name FROM unnest($1::text[]) name WHERE to_regclass(name) IS NULL",
                [VERSION_TABLE, *TABLES],
            )
        except Unavailable:
            return None
        return [row["name"] for row in rows]
