"""The table a follower writes: replicas of files, and the cursor of each element beside it.

Every write asks for the lead in its own statement, so a process that has lost it, however
late it wakes up, writes nothing.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import orjson

from artstore.v1.types_pb2 import File
from mesh.database import Database
from mesh.errors import Aborted
from mesh.follower import statements
from mesh.follower.cursor import Cursor, Lead, SyncStatus
from mesh.follower.rows import to_row

APPLY_SECONDS = 30.0
CLEAN_BATCH = 20_000

# A file and the sequence of the change that it comes with.
Numbered = tuple[int, File]


def process_name() -> str:
    """Names this process, and no other that ever was: the `leader` of a `ReplicaTable`."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


class CursorMoved(Aborted):
    """This process does not lead here any more, or the cursor is elsewhere: read it again."""

    default_reason = "CURSOR_MOVED"


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


class ReplicaTable:
    """Rows of files by (file_id, storage_element_id), and cursors, in one database.

    Args:
        database: where both are.
        table: the replica table, made by `mesh.follower.schema`.
        prefix: of `{prefix}_cursors` and `{prefix}_seen`.
        leader: names this process, and no other that ever was.
    """

    def __init__(self, database: Database, *, table: str, prefix: str, leader: str) -> None:
        self.database = database
        self.table = table
        self.leader = leader
        self._cursors = f"{prefix}_cursors"
        self._seen = f"{prefix}_seen"
        self._apply = statements.apply_changes(table, self._cursors)
        self._apply_snapshot = statements.apply_snapshot(table, self._cursors, self._seen)
        self._apply_unseen = statements.apply_unseen(table, self._cursors)

    # --- leadership and cursor -----------------------------------------------------------

    async def lead(self, element_id: str, *, seconds: float) -> Lead | None:
        """Take or keep the lead on an element; None while another process has it."""
        row = await self.database.fetchrow(
            f"""
            INSERT INTO {self._cursors} AS c (storage_element_id, leader, leader_until)
            VALUES ($1, $2, now() + make_interval(secs => $3))
            ON CONFLICT (storage_element_id) DO UPDATE
            SET leader = excluded.leader, leader_until = excluded.leader_until
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
            f"SELECT *, now() AS read_at FROM {self._cursors} ORDER BY storage_element_id"
        )
        return [_status(row) for row in rows]

    async def note_contact(self, element_id: str, epoch: str, head: int) -> None:
        """Something was heard: the head of the feed `epoch` is `head`."""
        await self.database.execute(
            f"""
            UPDATE {self._cursors}
            SET last_contact_at = now(), last_error = '',
                head = CASE WHEN epoch = $3 THEN $2 ELSE head END,
                behind_since = CASE WHEN epoch = $3 AND sequence >= $2 THEN NULL
                                    ELSE coalesce(behind_since, now()) END
            WHERE storage_element_id = $1 AND leader = $4
            """,
            element_id,
            head,
            epoch,
            self.leader,
        )

    async def note_error(self, element_id: str, message: str) -> None:
        """Following failed; it will be tried again."""
        await self.database.execute(
            f"UPDATE {self._cursors} SET last_error = $2, failures = failures + 1,"
            " behind_since = coalesce(behind_since, now())"
            " WHERE storage_element_id = $1 AND leader = $3",
            element_id,
            message[:500],
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
        )
        if not row["moved"]:
            raise CursorMoved(f"the cursor of {element_id} was moved by another follower")

    # --- snapshots -----------------------------------------------------------------------

    async def begin_snapshot(self, run: SnapshotRun) -> None:
        """Start; with `replace`, the cursor is given up, so that nothing else comes of it."""
        await self._clean(run.element_id)
        forget = (
            ", epoch = '', sequence = 0, change_id = '', head = 0, complete = false,"
            " behind_since = coalesce(behind_since, now())"
        )
        led = await self._led(
            f"UPDATE {self._cursors} SET snapshot_files = 0{forget if run.replace else ''}"
            " WHERE storage_element_id = $1 AND leader = $2 RETURNING 1",
            run.element_id,
        )
        self._require(led, run.element_id)

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
        )
        self._require(row["led"], run.element_id)

    async def finish_snapshot(self, run: SnapshotRun, new: Cursor, *, number: int) -> None:
        """It is applied as a whole; with `replace`, the cursor is at its end.

        Args:
            number: of the last snapshot that was asked for before this one began.
        """
        if run.replace:
            place = "epoch = $4, sequence = $5, change_id = $6, head = $5, behind_since = NULL,"
            condition = ""
            arguments: tuple[object, ...] = (new.epoch, new.sequence, new.change_id)
        else:
            place, condition, arguments = "", "AND epoch = $4", (new.epoch,)
        led = await self._led(
            f"""
            UPDATE {self._cursors}
            SET {place} complete = true, snapshot_at = now(),
                snapshots_done = greatest(snapshots_done, $3), last_contact_at = now(),
                last_error = ''
            WHERE storage_element_id = $1 AND leader = $2 {condition}
            RETURNING 1
            """,
            run.element_id,
            number,
            *arguments,
        )
        self._require(led, run.element_id)
        await self._clean(run.element_id)

    # --- statements ----------------------------------------------------------------------

    async def _write(
        self,
        statement: str,
        files: Sequence[Numbered],
        element_id: str,
        ids: Sequence[str],
        *rest: object,
    ) -> asyncpg.Record:
        rows = orjson.dumps([to_row(file, element_id, n) for n, file in files]).decode()
        arguments = (rows, list(ids), element_id, self.leader, *rest)
        async with self.database.transaction() as tx:
            if ids:
                # What is removed must be seen by the statement: it begins after all others.
                await tx.execute(
                    f"SELECT FROM {self._cursors} WHERE storage_element_id = $1 FOR UPDATE",
                    element_id,
                )
            record: asyncpg.Record = (await tx.fetch(statement, *arguments, timeout=APPLY_SECONDS))[
                0
            ]
        return record

    async def _led(self, statement: str, element_id: str, *arguments: object) -> bool:
        async with self.database.connection() as connection:
            found = await connection.fetchval(
                statement, element_id, self.leader, *arguments, timeout=APPLY_SECONDS
            )
        return found is not None

    def _require(self, led: bool, element_id: str) -> None:
        if not led:
            raise CursorMoved(f"another process follows {element_id} now")

    async def _clean(self, element_id: str) -> None:
        """Forget what snapshots have seen, in short statements."""
        while True:
            tag = await self.database.execute(
                f"DELETE FROM {self._seen} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {self._seen}"
                f" WHERE storage_element_id = $1 LIMIT {CLEAN_BATCH}))",
                element_id,
                timeout=APPLY_SECONDS,
            )
            if tag == "DELETE 0":
                return


def _status(row: Any) -> SyncStatus:
    return SyncStatus(
        element_id=row["storage_element_id"],
        cursor=Cursor(row["epoch"], row["sequence"], row["change_id"]),
        head=row["head"],
        behind_since=row["behind_since"],
        complete=row["complete"],
        last_error=row["last_error"],
        failures=row["failures"],
        last_contact_at=row["last_contact_at"],
        wanted=row["snapshots_wanted"],
        done=row["snapshots_done"],
        snapshot_files=row["snapshot_files"],
        read_at=row["read_at"],
    )
