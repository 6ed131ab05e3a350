"""Emptying the lists in which rows wait for their place in GIN indexes.

Short or long, searches read all of a list: so it is emptied when a load is through, and while
rows come one by one, once there are some. During a load PostgreSQL empties it by its length.
"""

from __future__ import annotations

import asyncio

import asyncpg
import structlog

from mesh.concurrency.watched import cancel_and_wait
from mesh.errors import Unavailable
from mesh.postgres.database import Database

# Rows that may wait: a search reads them in less than a millisecond.
MANY = 100
EMPTY_SECONDS = 600.0

_EMPTY = """
    SELECT gin_clean_pending_list(indexrelid) FROM pg_index
    JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am ON pg_am.oid = relam
    WHERE indrelid = to_regclass($1) AND amname = 'gin' AND indisvalid
"""

log = structlog.get_logger("mesh.follower")


class PendingRows:
    """Of one table; all that write it tell of their rows here.

    A process before this one may have left some: the first one to be through empties the lists.
    """

    def __init__(self, database: Database, table: str) -> None:
        self._database = database
        self._table = table
        self._count = MANY
        self._emptying: asyncio.Task[None] | None = None

    def written(self, rows: int) -> None:
        """So many more may wait."""
        self._count += rows

    @property
    def idle(self) -> bool:
        """No list is being emptied."""
        return self._emptying is None or self._emptying.done()

    def through(self) -> None:
        """Nothing more is there to be written for now."""
        if self._count >= MANY and self.idle:
            self._count = 0
            self._emptying = asyncio.create_task(self._empty(), name="empty pending lists")

    async def stop(self) -> None:
        """Leave it to the next process."""
        await cancel_and_wait(self._emptying)

    async def _empty(self) -> None:
        try:
            await self._database.fetch(_EMPTY, self._table, timeout=EMPTY_SECONDS)
        except (Unavailable, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self._count += MANY
            log.info("pending lists not emptied", table=self._table, reason=str(error))
