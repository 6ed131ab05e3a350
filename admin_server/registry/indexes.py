"""The registry's indexes of what is rare: what waits for a step, an age or a look.

A new table has them from the start. One of an earlier version gets them beside all other work, not
by a migration: of ten million rows each takes half a minute, for which the table would be closed.
"""

from __future__ import annotations

import asyncio

import asyncpg
import structlog

from admin_server.registry.registry import TABLE
from mesh.errors import Unavailable
from mesh.postgres.database import Database

LOCK_KEY = 0x6172_7473_7265_6978
RETRY_SECONDS = 5.0
# Of one of them. Of a billion rows it takes an hour.
BUILD_SECONDS = 4 * 3600.0

_RARE = {
    # Of what something was erased (`erasures`).
    "erased": "(file_id) WHERE state = 'erased'",
    # What a sweep looks at first, and what it looks at in the order of ids (`life.sweep`).
    "on_the_way": "(file_id) WHERE state IN ('incoming', 'moved')",
    # What a collection finds by its age, and copies whatever their age (`collection`).
    "due": "(expires_at, file_id) WHERE state = 'active' AND expires_at IS NOT NULL",
    "aging": "(state, updated_at, file_id) WHERE state IN ('moved', 'incoming')",
    "tombstones": "((coalesce(deleted_at, updated_at)), file_id) WHERE state = 'deleted'",
    "copies": "(file_id) WHERE state IN ('copy', 'moved', 'incoming')",
}
_THERE = """
    SELECT relname, indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE indrelid = to_regclass($1)
"""

_log = structlog.stdlib.get_logger(__name__)


def index_statements() -> list[str]:
    """SQL that makes them with a table that is new."""
    return [f"CREATE INDEX {TABLE}_{name} ON {TABLE} {what}" for name, what in _RARE.items()]


async def keep_indexes(database: Database) -> None:
    """Make those that are missing, and return when all are there."""
    while True:
        try:
            if await make_indexes(database):
                return
        except (Unavailable, asyncpg.PostgresError) as exc:
            _log.warning("indexes of the registry not made yet", reason=str(exc))
        await asyncio.sleep(RETRY_SECONDS)


async def make_indexes(database: Database) -> bool:
    """Make those that are missing or were left half made; False while another admin does.

    Raises:
        Unavailable: the database is down, or the table is missing.
    """
    async with database.connection() as connection:
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK_KEY):
            return False
        try:
            there = {row["relname"]: row["indisvalid"] for row in await _of_table(connection)}
            for name, what in _RARE.items():
                index = f"{TABLE}_{name}"
                if there.get(index):
                    continue
                _log.info("index of the registry is made", index=index)
                if index in there:
                    await connection.execute(f"DROP INDEX {index}", timeout=BUILD_SECONDS)
                await connection.execute(
                    f"CREATE INDEX CONCURRENTLY {index} ON {TABLE} {what}", timeout=BUILD_SECONDS
                )
        finally:
            await connection.execute("SELECT pg_advisory_unlock($1)", LOCK_KEY)
    return True


async def _of_table(connection: asyncpg.Connection[asyncpg.Record]) -> list[asyncpg.Record]:
    return await connection.fetch(_THERE, TABLE)
