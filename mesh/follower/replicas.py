"""The table a follower writes: replicas of files, and the cursor of each element beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from artstore.v1.types_pb2 import File
from mesh.follower import statements
from mesh.follower.cursor import Cursor
from mesh.follower.writing import APPLY_SECONDS, CLEAN_BATCH, CursorMoved, Numbered, RowWriter
from mesh.postgres.database import Database

__all__ = ["CursorMoved", "ReplicaTable", "SnapshotRun"]

TIDY_SECONDS = 600.0
# A snapshot that has not begun yet; the id of none.
_ANNOUNCED = "announced"


@dataclass(frozen=True, slots=True)
class SnapshotRun:
    """A snapshot that is being applied.

    Attributes:
        snapshot_id: random.
        head: the feed's head as the element noted it before it read the first row.
        replace: the table's rows are of another history and give way, whatever their
            sequence; else changes after `head` are applied at the same time, and win.
    """

    element_id: str
    snapshot_id: str
    head: int
    replace: bool


class ReplicaTable(RowWriter):
    """Rows of files, and cursors. Its arguments are those of `RowWriter`."""

    def __init__(self, database: Database, *, table: str, prefix: str, leader: str) -> None:
        super().__init__(database, table=table, prefix=prefix, leader=leader)
        self._apply = statements.apply_changes(table, self._cursors, self._aside)
        self._apply_snapshot = statements.apply_snapshot(
            table, self._cursors, self._seen, self._aside
        )
        self._apply_unseen = statements.apply_unseen(table, self._cursors, self._aside)

    # --- changes -------------------------------------------------------------------------

    async def apply(
        self,
        element_id: str,
        old: Cursor,
        new: Cursor,
        *,
        files: Sequence[Numbered],
        removed: Sequence[str] = (),
        changed_at: datetime | None = None,
    ) -> None:
        """Apply changes and move the cursor from `old` to `new`, in one transaction.

        Args:
            files: what was written, tombstones too; each file once.
            removed: ids that the element itself said are gone.
            changed_at: when the last of the changes was committed.

        Raises:
            CursorMoved: the cursor is not `old` any more, or another process leads; nothing
                was applied.
        """
        row = await self._write(
            self._apply,
            files,
            element_id,
            removed,
            old.epoch,
            old.sequence,
            old.change_id,
            new.sequence,
            new.change_id,
            changed_at,
            [*(file.file_id for _, file in files), *removed],
            leave_equal=True,
        )
        if not row["moved"]:
            raise CursorMoved(f"the cursor of {element_id} was moved by another follower")

    async def set_aside(
        self, element_id: str, old: Cursor, new: Cursor, file_id: str, error: Exception
    ) -> None:
        """Go past a change that cannot be applied: what the table has of the file stays.

        Raises:
            CursorMoved: as `apply`.
        """
        found = await self._fetchval(
            f"""
            WITH moved AS (
                UPDATE {self._cursors}
                SET sequence = $3, change_id = $5, head = greatest(head, $3)
                WHERE storage_element_id = $1 AND leader = $6
                  AND epoch = $7 AND sequence = $8 AND change_id = $9
                RETURNING 1
            ),
            noted AS ({statements.set_aside(self._aside, "moved")})
            SELECT count(*) FROM moved
            """,
            element_id,
            file_id,
            new.sequence,
            _text(error),
            new.change_id,
            self.leader,
            old.epoch,
            old.sequence,
            old.change_id,
        )
        if not found:
            raise CursorMoved(f"the cursor of {element_id} was moved by another follower")

    # --- snapshots -----------------------------------------------------------------------

    async def announce_snapshot(self, element_id: str) -> None:
        """One will be asked for, to be read beside the changes: from now on each of them leaves its
        sequence in its row, also where it says what the row says. Else what the snapshot read
        before it would be taken for newer.
        """
        led = await self._led(
            f"UPDATE {self._cursors} SET reading = $3"
            " WHERE storage_element_id = $1 AND leader = $2 RETURNING 1",
            element_id,
            _ANNOUNCED,
        )
        self._require(led, element_id)

    async def forget_snapshot(self, element_id: str) -> None:
        """None is read for now: whatever still comes of one that was is not let in."""
        await self._led(
            f"UPDATE {self._cursors} SET reading = ''"
            " WHERE storage_element_id = $1 AND leader = $2 AND reading <> '' RETURNING 1",
            element_id,
        )

    async def begin_snapshot(self, run: SnapshotRun) -> None:
        """Start; with `replace`, the cursor is given up, so that nothing else comes of it."""
        forget = (
            ", epoch = '', sequence = 0, change_id = '', head = 0, complete = false,"
            " behind_since = coalesce(behind_since, now())"
        )
        led = await self._led(
            f"UPDATE {self._cursors} SET snapshot_files = 0, snapshot_alive_at = now(),"
            f" reading = $3{forget if run.replace else ''}"
            " WHERE storage_element_id = $1 AND leader = $2 RETURNING 1",
            run.element_id,
            run.snapshot_id,
        )
        self._require(led, run.element_id)
        await self._clean(run.element_id)

    async def apply_snapshot(self, run: SnapshotRun, files: Sequence[Numbered]) -> int:
        """Write a piece of it; rows that are equal already are left alone. How many differed."""
        row = await self._write(
            self._apply_snapshot,
            files,
            run.element_id,
            [file.file_id for _, file in files],
            run.snapshot_id,
            run.head,
            run.replace,
        )
        self._require(row["led"], run.element_id)
        return int(row["differed"])

    async def set_aside_of_snapshot(
        self, run: SnapshotRun, file_id: str, sequence: int, error: Exception, *, seen: bool
    ) -> None:
        """Go past a file of a snapshot that cannot be written.

        Args:
            seen: the snapshot has it; else the element told of it when it was asked.
        """
        count = await self._fetchval(
            f"""
            WITH led AS (
                UPDATE {self._cursors} SET snapshot_files = snapshot_files + $7::int
                WHERE storage_element_id = $1 AND leader = $5 AND reading = $6 RETURNING 1
            ),
            met AS (
                INSERT INTO {self._seen} (storage_element_id, snapshot_id, file_id)
                SELECT $1, $6, $2 FROM led WHERE $7 = 1 ON CONFLICT DO NOTHING
            ),
            noted AS ({statements.set_aside(self._aside, "led")})
            SELECT count(*) FROM led
            """,
            run.element_id,
            file_id,
            sequence,
            _text(error),
            self.leader,
            run.snapshot_id,
            int(seen),
        )
        self._require(bool(count), run.element_id)

    async def seen(self, run: SnapshotRun) -> int:
        """How many files of it are on record. The record is lost when PostgreSQL crashes."""
        return int(
            await self.database.fetchval(
                f"SELECT count(*) FROM {self._seen}"
                " WHERE storage_element_id = $1 AND snapshot_id = $2",
                run.element_id,
                run.snapshot_id,
                timeout=APPLY_SECONDS,
            )
        )

    async def unseen(self, run: SnapshotRun, after: str, limit: int) -> list[str]:
        """Ids of the element's rows that the snapshot lacks, by id, beyond `after`."""
        rows = await self.database.fetch(
            f"""
            SELECT file_id FROM {self.table} t
            WHERE storage_element_id = $1 AND file_id > $3 AND NOT EXISTS (
                SELECT FROM {self._seen} s WHERE s.storage_element_id = $1
                AND s.snapshot_id = $2 AND s.file_id = t.file_id)
            ORDER BY file_id LIMIT $4
            """,
            run.element_id,
            run.snapshot_id,
            after,
            limit,
            timeout=APPLY_SECONDS,
        )
        return [row["file_id"] for row in rows]

    async def apply_unseen(
        self, run: SnapshotRun, *, files: Sequence[File], removed: Sequence[str]
    ) -> None:
        """Write what the element said of rows that its snapshot lacked."""
        row = await self._write(
            self._apply_unseen,
            [(run.head, file) for file in files],
            run.element_id,
            removed,
            run.head,
            run.replace,
            [*(file.file_id for file in files), *removed],
            run.snapshot_id,
        )
        self._require(row["led"], run.element_id)

    async def finish_snapshot(
        self, run: SnapshotRun, new: Cursor, *, number: int, files: int
    ) -> None:
        """It is applied as a whole; with `replace`, the cursor is at its end.

        Args:
            number: of the last snapshot that was asked for before this one began.
            files: how many were applied. Tables made anew meanwhile have not counted them.

        Raises:
            CursorMoved: another process leads, or the tables are not those it was applied to.
        """
        if run.replace:
            place = "epoch = $6, sequence = $7, change_id = $8, head = $7, behind_since = NULL,"
            condition = ""
            arguments: tuple[object, ...] = (new.epoch, new.sequence, new.change_id)
        else:
            place, condition, arguments = "", "AND epoch = $6", (new.epoch,)
        led = await self._led(
            f"""
            UPDATE {self._cursors}
            SET {place} complete = true, snapshot_at = now(),
                snapshots_done = greatest(snapshots_done, $3), last_contact_at = now(),
                last_error = '', snapshot_error = '', reading = ''
            WHERE storage_element_id = $1 AND leader = $2 AND snapshot_files = $4
              AND reading = $5 {condition}
            RETURNING 1
            """,
            run.element_id,
            number,
            files,
            run.snapshot_id,
            *arguments,
        )
        self._require(led, run.element_id)
        await self.database.execute(
            f"""
            DELETE FROM {self._aside} a
            WHERE storage_element_id = $1 AND ($2 OR sequence <= $3) AND NOT EXISTS (
                SELECT FROM {self._seen} s WHERE s.storage_element_id = $1
                AND s.snapshot_id = $4 AND s.file_id = a.file_id)
            """,
            run.element_id,
            run.replace,
            run.head,
            run.snapshot_id,
            timeout=APPLY_SECONDS,
        )
        await self._clean(run.element_id)

    async def forget(self, element_id: str) -> int:
        """Drop all of an element that is no part of the mesh any more; how many files it was.

        The cursor goes first back to its beginning and last of all: broken off and followed again,
        the element is read whole.

        Raises:
            CursorMoved: another process leads on it.
        """
        self._require(await self.lead(element_id, seconds=APPLY_SECONDS) is not None, element_id)
        await self.begin_snapshot(SnapshotRun(element_id, "", 0, replace=True))
        count = await self._drop(self.table, element_id)
        await self._drop(self._aside, element_id)
        led = await self._led(
            f"DELETE FROM {self._cursors} WHERE storage_element_id = $1 AND leader = $2"
            " RETURNING 1",
            element_id,
        )
        self._require(led, element_id)
        return count

    async def _drop(self, table: str, element_id: str) -> int:
        dropped = 0
        while True:
            lead = await self.lead(element_id, seconds=APPLY_SECONDS)
            self._require(lead is not None, element_id)
            tag = await self.database.execute(
                f"DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table}"
                f" WHERE storage_element_id = $1 LIMIT {CLEAN_BATCH})) AND EXISTS (SELECT FROM"
                f" {self._cursors} WHERE storage_element_id = $1 AND leader = $2)",
                element_id,
                self.leader,
                timeout=APPLY_SECONDS,
            )
            count = int(tag.rpartition(" ")[2])
            if not count:
                return dropped
            dropped += count

    async def tidy(self) -> None:
        """Bring the planner's statistics and the visibility map up to date after a load."""
        await self.database.execute(f"VACUUM (ANALYZE) {self.table}", timeout=TIDY_SECONDS)


def _text(error: Exception) -> str:
    return (str(error) or repr(error)).replace("\0", " ")[:500]
