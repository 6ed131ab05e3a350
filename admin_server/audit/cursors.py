"""Table `audit_cursors`: how far each element's feed is in the audit, and who follows it."""

from __future__ import annotations

from collections.abc import Sequence

from admin_server.audit.chain import append
from admin_server.audit.event import Event
from mesh.elements.feed_cursor import FeedCursor, encode
from mesh.errors import Aborted
from mesh.postgres.database import Database


class Elsewhere(Aborted):
    """Another process follows, or the cursor is not the one that was read: read it again."""


class AuditCursors:
    """Every call raises `Unavailable` while the database is down.

    Args:
        leader: names this process, and no other that ever was.
    """

    def __init__(self, database: Database, *, leader: str) -> None:
        self._database = database
        self._leader = leader

    async def lead(self, element_id: str, *, seconds: float) -> FeedCursor | None:
        """Take or keep the lead on an element; None while another process has it."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                """
                INSERT INTO audit_cursors AS c (storage_element_id, leader, leader_until)
                VALUES ($1, $2, now() + make_interval(secs => $3))
                ON CONFLICT (storage_element_id) DO UPDATE
                SET leader = excluded.leader, leader_until = excluded.leader_until
                WHERE c.leader = excluded.leader OR c.leader_until < now()
                RETURNING epoch, sequence, change_id
                """,
                element_id,
                self._leader,
                seconds,
            )
        return None if row is None else FeedCursor(*row)

    async def resign(self, element_id: str) -> None:
        """Let another process lead at once."""
        await self._database.execute(
            "UPDATE audit_cursors SET leader_until = '-infinity'"
            " WHERE storage_element_id = $1 AND leader = $2",
            element_id,
            self._leader,
        )

    async def record(
        self, element_id: str, old: FeedCursor, new: FeedCursor, events: Sequence[Event]
    ) -> None:
        """Put what lies between two places on record, and move on, in one transaction.

        Raises:
            Elsewhere: the cursor is not `old`, or another process leads; nothing was done.
        """
        async with self._database.transaction() as connection:
            moved = await connection.execute(
                "UPDATE audit_cursors SET epoch = $3, sequence = $4, change_id = $5"
                " WHERE storage_element_id = $1 AND leader = $2"
                " AND epoch = $6 AND sequence = $7 AND change_id = $8",
                element_id,
                self._leader,
                new.epoch,
                new.sequence,
                new.change_id,
                old.epoch,
                old.sequence,
                old.change_id,
            )
            if moved != "UPDATE 1":
                raise Elsewhere(f"the audit follows {element_id} from elsewhere")
            await append(connection, events)

    async def places(self) -> dict[str, str]:
        """Cursor of each element up to which the audit has its feed."""
        rows = await self._database.fetch(
            "SELECT storage_element_id, epoch, sequence, change_id FROM audit_cursors"
        )
        return {
            row["storage_element_id"]: encode(row["epoch"], row["sequence"], row["change_id"])
            for row in rows
        }
