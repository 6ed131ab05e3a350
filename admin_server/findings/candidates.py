"""Which files of the registry are worth a look: read in slices, by id."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from admin_server.registry.registry import TABLE
from mesh.postgres.database import Database

SLICE_ROWS = 10_000
SLICE_SECONDS = 30.0

# What `judge` may find something in, or what a step may mend; the elements are asked then.
_SUSPICIOUS = """
    count(*) FILTER (WHERE state IN ('active', 'deleted')) > 1
    OR (bool_and(state NOT IN ('active', 'deleted', 'erased'))
        AND bool_or(state IN ('copy', 'incoming', 'moved')))
    OR bool_or(state = 'copy' AND moved_to <> '')
    OR count(DISTINCT sha256) FILTER (WHERE state IN ('active', 'copy', 'incoming', 'moved')) > 1
    OR max(copies) FILTER (WHERE state = 'active') > 1 + count(*) FILTER (WHERE state = 'copy')
    OR (bool_or(state = 'erased') AND (bool_or(state <> 'erased')))
    OR max(home_since) > max(home_since) FILTER (WHERE state IN ('active', 'deleted'))
    OR max(created_at) > now() + interval '1 day'
"""


@dataclass(frozen=True, slots=True)
class Slice:
    """Some files.

    Attributes:
        files: how many were looked at.
        suspicious: ids of those that are worth a look.
    """

    files: int
    suspicious: Sequence[str]


async def slices(database: Database) -> AsyncGenerator[Slice, None]:
    """All files of the registry.

    Raises:
        Unavailable: the database is down or silent.
    """
    after = ""
    while True:
        last = await database.fetchval(
            f"SELECT max(file_id) FROM (SELECT file_id FROM {TABLE} WHERE file_id > $1"
            f" ORDER BY file_id LIMIT {SLICE_ROWS}) slice",
            after,
            timeout=SLICE_SECONDS,
        )
        if last is None:
            return
        rows = await database.fetch(
            f"SELECT file_id, ({_SUSPICIOUS}) AS suspicious FROM {TABLE}"
            " WHERE file_id > $1 AND file_id <= $2 GROUP BY file_id"
            " HAVING bool_or(state <> 'gone')",
            after,
            last,
            timeout=SLICE_SECONDS,
        )
        yield Slice(len(rows), [row["file_id"] for row in rows if row["suspicious"]])
        after = last


async def count(database: Database) -> int:
    """About how many rows there are; 0 when that is not known."""
    rows: int = await database.fetchval(
        "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = $1::regclass", TABLE
    )
    return rows
