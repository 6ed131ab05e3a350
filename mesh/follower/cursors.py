"""The cursors beside a replica table: who leads on an element, and how far it is followed."""

from __future__ import annotations

from typing import Any

from mesh.follower.cursor import Cursor, Lead, SyncStatus
from mesh.postgres.database import Database


class CursorTable:
    """One row for each element that was ever heard of.

    Args:
        database: where it is.
        prefix: of `{prefix}_cursors` and `{prefix}_set_aside`, made by `mesh.follower.schema`.
        leader: names this process, and no other that ever was.
    """

    def __init__(self, database: Database, *, prefix: str, leader: str) -> None:
        self.database = database
        self.leader = leader
        self._cursors = f"{prefix}_cursors"
        self._aside = f"{prefix}_set_aside"

    async def lead(self, element_id: str, *, seconds: float) -> Lead | None:
        """Take or keep the lead on an element; None while another process has it."""
        row = await self.database.fetchrow(
            f"""
            INSERT INTO {self._cursors} AS c (storage_element_id, leader, leader_until)
            VALUES ($1, $2, now() + make_interval(secs => $3))
            ON CONFLICT (storage_element_id) DO UPDATE
            SET leader = excluded.leader, leader_until = excluded.leader_until,
                reading = CASE WHEN c.leader = excluded.leader THEN c.reading ELSE '' END
            WHERE c.leader = excluded.leader OR c.leader_until < now()
            RETURNING epoch, sequence, change_id, snapshots_wanted, snapshots_done,
                      extract(epoch FROM now() - snapshot_at)::float8 AS age
            """,
            element_id,
            self.leader,
            seconds,
        )
        if row is None:
            return None
        cursor = Cursor(row["epoch"], row["sequence"], row["change_id"])
        return Lead(cursor, row["snapshots_wanted"], row["snapshots_done"], row["age"])

    async def resign(self, element_id: str) -> None:
        """Let another process lead at once."""
        await self.database.execute(
            f"UPDATE {self._cursors} SET leader_until = '-infinity'"
            " WHERE storage_element_id = $1 AND leader = $2",
            element_id,
            self.leader,
        )

    async def statuses(self) -> list[SyncStatus]:
        """How far each element is followed, by id."""
        rows = await self.database.fetch(
            f"""
            SELECT c.*, now() AS read_at, coalesce(a.count, 0) AS set_aside, a.example
            FROM {self._cursors} c LEFT JOIN (
                SELECT storage_element_id, count(*), max(file_id || ': ' || error) AS example
                FROM {self._aside} GROUP BY 1
            ) a USING (storage_element_id)
            ORDER BY storage_element_id
            """
        )
        return [_status(row) for row in rows]

    async def note_contact(self, element_id: str, epoch: str, head: int) -> str | None:
        """A heartbeat was heard: the head of the feed `epoch` is `head`.

        The beat of another epoch than the cursor's says that the table lacks everything of it.

        Returns:
            The cursor's epoch; None when this process does not lead.
        """
        async with self.database.connection() as connection:
            found: str | None = await connection.fetchval(
                f"""
                UPDATE {self._cursors}
                SET last_contact_at = CASE WHEN epoch = $3 THEN now() ELSE last_contact_at END,
                    last_error = '',
                    complete = complete AND epoch = $3,
                    snapshot_alive_at = CASE WHEN epoch = $3 THEN snapshot_alive_at ELSE now() END,
                    head = CASE WHEN epoch = $3 THEN $2 ELSE head END,
                    behind_since = CASE WHEN epoch = $3 AND sequence >= $2 THEN NULL
                                        ELSE coalesce(behind_since, now()) END
                WHERE storage_element_id = $1 AND leader = $4
                RETURNING epoch
                """,
                element_id,
                head,
                epoch,
                self.leader,
            )
        return found

    async def note_snapshot_alive(self, element_id: str) -> None:
        """The element is at work on a snapshot that is being read, without a file yet."""
        await self.database.execute(
            f"UPDATE {self._cursors} SET snapshot_alive_at = now()"
            " WHERE storage_element_id = $1 AND leader = $2",
            element_id,
            self.leader,
        )

    async def note_error(self, element_id: str, message: str) -> None:
        """Following failed; it will be tried again."""
        await self._note_error(
            "last_error = $2, behind_since = coalesce(behind_since, now())", element_id, message
        )

    async def note_snapshot_error(self, element_id: str, message: str) -> None:
        """A snapshot beside the tail failed; it will be tried again. The next one clears it."""
        await self._note_error("snapshot_error = $2", element_id, message)

    async def _note_error(self, assignment: str, element_id: str, message: str) -> None:
        await self.database.execute(
            f"UPDATE {self._cursors} SET {assignment}, failures = failures + 1"
            " WHERE storage_element_id = $1 AND leader = $3",
            element_id,
            message.replace("\0", " ")[:500],
            self.leader,
        )

    async def want_snapshot(self, element_id: str) -> int:
        """Ask whoever leads for a snapshot; its number, to be compared with `done`."""
        async with self.database.connection() as connection:
            number: int = await connection.fetchval(
                f"""
                INSERT INTO {self._cursors} AS c (storage_element_id, snapshots_wanted)
                VALUES ($1, 1) ON CONFLICT (storage_element_id) DO UPDATE
                SET snapshots_wanted = c.snapshots_wanted + 1 RETURNING snapshots_wanted
                """,
                element_id,
            )
        return number


def _status(row: Any) -> SyncStatus:
    return SyncStatus(
        element_id=row["storage_element_id"],
        cursor=Cursor(row["epoch"], row["sequence"], row["change_id"]),
        head=row["head"],
        behind_since=row["behind_since"],
        complete=row["complete"],
        last_error=_last_error(row),
        failures=row["failures"],
        last_contact_at=row["last_contact_at"],
        wanted=row["snapshots_wanted"],
        done=row["snapshots_done"],
        snapshot_files=row["snapshot_files"],
        snapshot_alive_at=row["snapshot_alive_at"],
        set_aside=row["set_aside"],
        read_at=row["read_at"],
    )


def _last_error(row: Any) -> str:
    if row["last_error"] or row["snapshot_error"]:
        return str(row["last_error"] or row["snapshot_error"])
    if row["set_aside"]:
        return f"{row['set_aside']} files could not be taken over, as {row['example']}"
    return ""
