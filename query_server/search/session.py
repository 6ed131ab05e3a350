"""What PostgreSQL is told of the connections that searches use, and asked of the database."""

from __future__ import annotations

import structlog

from mesh.postgres.database import Database

# A plan made for any value walks the whole table for a rare one, and PostgreSQL changes to such
# plans after five executions; no part of a search is long enough to be compiled; a whole table
# is never what a search has to read; and a bitmap of a million rows fits into memory, else the
# rows of whole pages would be compared again.
SETTINGS = {
    "plan_cache_mode": "force_custom_plan",
    "jit": "off",
    "enable_seqscan": "off",
    "work_mem": "64MB",
}

_log = structlog.stdlib.get_logger(__name__)


async def check_letters(database: Database) -> bool:
    """Whether the database knows letters beyond ASCII; says in the log if not.

    Raises:
        Unavailable: the database is down or silent.
    """
    known: bool = await database.fetchval("SELECT lower('Я') = 'я' AND 'я' ~ '^[[:alnum:]]$'")
    if not known:
        _log.error(
            "the index's database has a locale that knows ASCII letters only, so nothing else is"
            " found; drop it, and it is made again with a better one",
            database=database.name,
        )
    return known
