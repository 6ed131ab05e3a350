"""How rows of files get into a replica table: the transaction around each statement that writes.

Every write asks for the lead in its own statement, so a process that has lost it, however
late it wakes up, writes nothing.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Sequence
from typing import Any

import asyncpg
import orjson

from artstore.v1.types_pb2 import File
from mesh.errors import Aborted
from mesh.follower.cursors import CursorTable
from mesh.follower.pending import PendingRows
from mesh.follower.rows import content_digest, to_row
from mesh.postgres.database import Database

APPLY_SECONDS = 30.0
CLEAN_BATCH = 20_000
# Fewer are written without a look at what is there: that takes longer than writing them.
COMPARED_FROM = 20
# Files are put into rows in pieces, so that other calls have their turn between them.
TURN = 100

# A file and the sequence of the change that it comes with.
Numbered = tuple[int, File]


# What one row can be guilty of: a value that no column, index or constraint takes.
POISON = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    orjson.JSONEncodeError,
    OverflowError,
    ValueError,
)


def process_name() -> str:
    """Names this process, and no other that ever was: the `leader` of a `ReplicaTable`."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


class CursorMoved(Aborted):
    """This process does not lead here any more, or the cursor is elsewhere: read it again."""


class RowWriter(CursorTable):
    """Writes rows by (file_id, storage_element_id) beside the cursors, in one database.

    Args:
        database: where both are.
        table: the replica table, made by `mesh.follower.schema`.
        prefix: of the tables beside it.
        leader: names this process, and no other that ever was.
    """

    def __init__(self, database: Database, *, table: str, prefix: str, leader: str) -> None:
        super().__init__(database, prefix=prefix, leader=leader)
        self.table = table
        self._seen = f"{prefix}_seen"
        self.pending = PendingRows(database, table)
        # A plan that was made while the table was empty would read all of it for each row once it
        # is not.
        self._hold = (
            f"SELECT reading, set_config('enable_seqscan', 'off', true) FROM {self._cursors}"
            " WHERE storage_element_id = $1 FOR UPDATE"
        )

    async def _write(
        self,
        statement: str,
        files: Sequence[Numbered],
        element_id: str,
        ids: Sequence[str],
        *rest: object,
        leave_equal: bool = False,
    ) -> asyncpg.Record:
        """Run a statement that takes rows as JSON, `ids`, the element, the leader and the `rest`.

        Args:
            leave_equal: rows that say already what `files` do are not written again, as long as
                nobody asks for their sequence.
        """
        compared = leave_equal and len(files) >= COMPARED_FROM
        digests = await self._digests(files) if compared else []
        async with self.database.transaction() as tx:
            if ids or compared:
                # What is removed or left alone must be seen by the statement: it begins after all
                # others.
                reading = await tx.fetchval(self._hold, element_id)
                if compared and reading == "":
                    files = await self._differing(tx, element_id, files, digests)
            rows = await _rows(files, element_id)
            file_ids = sorted({*(file.file_id for _, file in files), *ids})
            await self._before(tx, element_id, files, file_ids)
            arguments = (rows, list(ids), element_id, self.leader, *rest)
            record: asyncpg.Record = (await tx.fetch(statement, *arguments, timeout=APPLY_SECONDS))[
                0
            ]
            await self._after(tx, element_id, files, file_ids)
        self.pending.written(len(files))
        return record

    async def _digests(self, files: Sequence[Numbered]) -> list[bytes]:
        digests = []
        for number, (_, file) in enumerate(files, start=1):
            digests.append(content_digest(file))
            if number % TURN == 0:
                await asyncio.sleep(0)
        return digests

    async def _differing(
        self,
        tx: asyncpg.Connection[Any],
        element_id: str,
        files: Sequence[Numbered],
        digests: Sequence[bytes],
    ) -> Sequence[Numbered]:
        """Those whose row is not there, or was made of something else."""
        rows = await tx.fetch(
            f"""
            SELECT i.place FROM unnest($2::text[], $3::bytea[])
                WITH ORDINALITY AS i (file_id, digest, place)
            LEFT JOIN LATERAL (
                SELECT digest FROM {self.table}
                WHERE file_id = i.file_id AND storage_element_id = $1 OFFSET 0
            ) t ON true
            WHERE t.digest IS DISTINCT FROM i.digest ORDER BY i.place
            """,
            element_id,
            [file.file_id for _, file in files],
            digests,
            timeout=APPLY_SECONDS,
        )
        return [files[row["place"] - 1] for row in rows]

    async def _before(
        self,
        tx: asyncpg.Connection[Any],
        element_id: str,
        files: Sequence[Numbered],
        file_ids: Sequence[str],
    ) -> None:
        """What a table does more in a transaction that writes rows of files, before that.

        Args:
            files: those that are written for the element.
            file_ids: of these, and of those that are removed.
        """

    async def _after(
        self,
        tx: asyncpg.Connection[Any],
        element_id: str,
        files: Sequence[Numbered],
        file_ids: Sequence[str],
    ) -> None:
        """What it does more afterwards.

        Args:
            files: those that were written for the element.
            file_ids: of these, and of those that were removed.
        """

    async def _led(self, statement: str, element_id: str, *arguments: object) -> bool:
        found = await self._fetchval(statement, element_id, self.leader, *arguments)
        return found is not None

    async def _fetchval(self, statement: str, *arguments: object) -> Any:
        """The first value of a statement that writes: it is never repeated."""
        async with self.database.connection() as connection:
            return await connection.fetchval(statement, *arguments, timeout=APPLY_SECONDS)

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


async def _rows(files: Sequence[Numbered], element_id: str) -> str:
    rows = []
    for number, (sequence, file) in enumerate(files, start=1):
        rows.append(to_row(file, element_id, sequence))
        if number % TURN == 0:
            await asyncio.sleep(0)
    return orjson.dumps(rows).decode()
