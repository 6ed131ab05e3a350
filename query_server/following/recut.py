"""Cutting the rows of a large index into words anew, in the background.

Migration 0006 leaves a large index as it was but for two empty columns and a trigger that fills
them for what is written. Here the rest is filled, newest first, in short transactions; then come
the indexes, and searches go by them. Each step finds out what is left to do, so it goes on where
it was stopped, and of several query servers one does it.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import asyncpg
import structlog

from mesh.errors import ArtStoreError
from mesh.operations import Operation, Operations
from mesh.postgres.database import Database
from query_server.migrations.word_indexes import DROP_OLD, INDEXES
from query_server.search.table import CUT, TABLE, UNCUT, Layout

KIND = "reindex"
LOCK = 0x41525457  # "ARTW"
# Rows of a transaction, about 0.3 s: a follower may wait for one of them.
BATCH = 500
WATCH_SECONDS = 1.0
# Searches that began by the old columns end within.
GRACE_SECONDS = 15.0
LOCK_TIMEOUT = "2s"
INDEX_SECONDS = 3600.0

# The trigger cuts a row that has no words. Rows that are being written are left for later:
# whoever writes them cuts them.
_CUT = f"""
WITH uncut AS (
    SELECT file_id, storage_element_id FROM {TABLE} WHERE words IS NULL
    ORDER BY created_at DESC LIMIT {BATCH} FOR UPDATE SKIP LOCKED)
UPDATE {TABLE} t SET words = NULL FROM uncut
WHERE (t.file_id, t.storage_element_id) = (uncut.file_id, uncut.storage_element_id)
"""
_READY = """
SELECT count(*) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE indrelid = $1::regclass AND relname = ANY($2::text[]) AND indisvalid
"""
_OLD = """
SELECT count(*) FROM pg_attribute
WHERE attrelid = $1::regclass AND attname = 'search_vector' AND NOT attisdropped
"""

_log = structlog.stdlib.get_logger(__name__)


class Recut:
    """Which columns searches go by, and the work until that is the new ones."""

    def __init__(self, database: Database, operations: Operations) -> None:
        self._database = database
        self._operations = operations
        self.layout: Layout = CUT

    async def look(self) -> None:
        """Find out what the searches can go by.

        Raises:
            Unavailable: the database is down or silent.
        """
        ready = await self._database.fetchval(_READY, TABLE, list(INDEXES))
        self.layout = CUT if ready == len(INDEXES) else UNCUT

    async def run(self) -> None:
        """Look, and do what is to be done, until the old columns are gone."""
        while True:
            try:
                await self.look()
                if not await self._database.fetchval(_OLD, TABLE):
                    return
                await self._alone()
            except (ArtStoreError, asyncpg.PostgresError) as exc:
                _log.warning("the index is not cut anew yet", reason=str(exc))
            await asyncio.sleep(WATCH_SECONDS)

    async def _alone(self) -> None:
        connection = await self._database.connect()
        try:
            if await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
                await self._operations.run(KIND, "", partial(self._work, connection))
        finally:
            # Dropping the connection lets the lock go.
            connection.terminate()

    async def _work(self, connection: asyncpg.Connection[Any], operation: Operation) -> None:
        await self._cut(connection, operation)
        await self._index(connection, operation)
        await self.look()
        operation.begin("dropping what was there before")
        # Other query servers look as often as this one.
        await asyncio.sleep(WATCH_SECONDS + GRACE_SECONDS)
        await connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        for statement in DROP_OLD:
            await connection.execute(statement)

    async def _cut(self, connection: asyncpg.Connection[Any], operation: Operation) -> None:
        left = await connection.fetchval(
            f"SELECT count(*) FROM {TABLE} WHERE words IS NULL", timeout=INDEX_SECONDS
        )
        operation.begin("cutting words", left)
        while left:
            done = int((await connection.execute(_CUT, timeout=INDEX_SECONDS)).split()[-1])
            operation.advance(done)
            if not done:
                await asyncio.sleep(WATCH_SECONDS)
                left = await connection.fetchval(
                    f"SELECT count(*) FROM {TABLE} WHERE words IS NULL", timeout=INDEX_SECONDS
                )

    async def _index(self, connection: asyncpg.Connection[Any], operation: Operation) -> None:
        operation.begin("making indexes", len(INDEXES))
        for name, definition in INDEXES.items():
            if not await connection.fetchval(_READY, TABLE, [name]):
                # What was left of one that was interrupted.
                await connection.execute(f"DROP INDEX IF EXISTS {name}")
                await connection.execute(
                    f"CREATE INDEX CONCURRENTLY {name} ON {TABLE} {definition}",
                    timeout=INDEX_SECONDS,
                )
            operation.advance(1)
        await connection.execute(f"ANALYZE {TABLE}", timeout=INDEX_SECONDS)
