"""Files of which two homes were told, until they are settled."""

from __future__ import annotations

from collections.abc import Sequence

from admin_server.registry.registry import TABLE
from mesh.postgres.database import Database

AGAIN_SECONDS = 60.0

# Those under way are their worker's; by the end of it they are settled, or are looked at again.
_FIND = f"""
    SELECT file_id, (
        SELECT count(*) > 1 FROM {TABLE} AS t
        WHERE t.file_id = unsettled.file_id AND t.state IN ('active', 'deleted')
    ) AS doubled, EXISTS (
        SELECT FROM transfers WHERE transfers.file_id = unsettled.file_id AND ended_at IS NULL
    ) AS moves
    FROM unsettled WHERE due_at <= now() ORDER BY due_at LIMIT $1
"""
# A row that is noted again at this moment stays as its feed has it.
_FREE = """
    SELECT file_id FROM unsettled WHERE file_id = ANY($1::text[]) AND due_at <= now()
    FOR UPDATE SKIP LOCKED
"""


class Unsettled:
    """Reads and clears them; every call raises `Unavailable` while the database is down."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def due(self, limit: int) -> tuple[Sequence[str], bool]:
        """(those that are to be settled now, whether there may be more).

        What the registry has one home of by now is cleared away; the others are due again in a
        minute.
        """
        rows = await self._database.fetch(_FIND, limit)
        over = [row["file_id"] for row in rows if not row["doubled"]]
        left = [row["file_id"] for row in rows if row["doubled"]]
        if over:
            await self._database.execute(f"DELETE FROM unsettled WHERE file_id IN ({_FREE})", over)
        if left:
            await self._database.execute(
                "UPDATE unsettled SET due_at = now() + make_interval(secs => $2)"
                f" WHERE file_id IN ({_FREE})",
                left,
                AGAIN_SECONDS,
            )
        moving = {row["file_id"] for row in rows if row["moves"]}
        return [file_id for file_id in left if file_id not in moving], len(rows) == limit
