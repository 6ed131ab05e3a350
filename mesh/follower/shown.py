"""A follower's table whose state `active` stands for what lists show: each file once.

What decides is `mesh.elements.home`; it is decided as rows are written, in their transaction, so
that a search asks for nothing but `active`, however the feeds of a file's elements interleave. A
source that moved away is `active` as long as nothing later is known (its `moved_to` tells it), and
a home of which a later one is known is EARLIER.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import asyncpg

from artstore.v1.types_pb2 import FileState
from mesh.elements.home import LISTED, SPEAKING, later_in_sql
from mesh.follower.replicas import ReplicaTable
from mesh.follower.rows import EARLIER
from mesh.follower.writing import APPLY_SECONDS, Numbered

SHOWN = "active"

# Followers of different elements write rows of the same file: of files that are or were on more
# than one element only one at a time, by locks that several files share.
_LOCKS = 64
_LOCK_CLASS = 0x686F_6D65  # "home"
_PLAIN = frozenset({FileState.FILE_STATE_ACTIVE, FileState.FILE_STATE_DELETED})

_LOCK = f"""
SELECT CASE WHEN alone THEN pg_advisory_xact_lock({_LOCK_CLASS}, number)
            ELSE pg_advisory_xact_lock_shared({_LOCK_CLASS}, number) END
FROM unnest($1::int[], $2::bool[]) WITH ORDINALITY AS wanted (number, alone, place)
"""


def _told_in_sql(row: str) -> str:
    return (
        f"CASE WHEN {row}.state = '{EARLIER}' THEN 'active'"
        f" WHEN {row}.state = '{SHOWN}' AND {row}.moved_to <> '' THEN 'moved'"
        f" ELSE {row}.state END"
    )


def _settle(table: str) -> str:
    """SQL: of the files $1 that have more than one row, or one that is not as told, the state as it
    is shown. $2 are the states that lists show, $3 those that speak for a file.
    """
    return f"""
        WITH known AS MATERIALIZED (
            SELECT file_id, storage_element_id, state AS label, {_told_in_sql("t")} AS state,
                   home_since, created_at, revision, count(*) OVER (PARTITION BY file_id) AS rows
            FROM {table} t WHERE file_id = ANY($1::text[])),
        unsure AS MATERIALIZED (
            SELECT * FROM known WHERE rows > 1 OR state = 'moved' OR label <> state),
        outdone AS MATERIALIZED (
            SELECT DISTINCT one.file_id, one.storage_element_id
            FROM unsure one JOIN unsure other USING (file_id)
            WHERE one.state = ANY($2::text[]) AND other.state = ANY($3::text[])
              AND {later_in_sql("other", "one")}),
        shown AS (
            SELECT u.file_id, u.storage_element_id, CASE
                WHEN u.state <> ALL($2::text[]) THEN u.state
                WHEN o.file_id IS NULL THEN '{SHOWN}'
                WHEN u.state = '{SHOWN}' THEN '{EARLIER}'
                ELSE u.state END AS state
            FROM unsure u LEFT JOIN outdone o USING (file_id, storage_element_id))
        UPDATE {table} t SET state = shown.state FROM shown
        WHERE t.file_id = shown.file_id AND t.storage_element_id = shown.storage_element_id
          AND t.state <> shown.state
    """


class ShownReplicas(ReplicaTable):
    """Rows of which the state `active` is one line of each file."""

    async def _before(
        self,
        tx: asyncpg.Connection[Any],
        element_id: str,
        files: Sequence[Numbered],
        file_ids: Sequence[str],
    ) -> None:
        alone = dict.fromkeys(map(_lock_of, file_ids), False)
        # A file that moved once and is a home now has no row elsewhere before long.
        moving = {file.file_id for _, file in files if file.state not in _PLAIN}
        # One that is written for the first time may be written for another element just now.
        rows = await tx.fetch(
            f"SELECT file_id FROM {self.table}"
            " WHERE file_id = ANY($1::text[]) AND storage_element_id = $2",
            list(file_ids),
            element_id,
            timeout=APPLY_SECONDS,
        )
        known = {row["file_id"] for row in rows}
        moving |= {file.file_id for _, file in files if file.HasField("home_since")} - known
        for file_id in moving | await self._elsewhere(tx, element_id, file_ids):
            alone[_lock_of(file_id)] = True
        numbers = sorted(alone)
        await tx.execute(
            _LOCK, numbers, [alone[number] for number in numbers], timeout=APPLY_SECONDS
        )

    async def _after(
        self,
        tx: asyncpg.Connection[Any],
        element_id: str,
        files: Sequence[Numbered],
        file_ids: Sequence[str],
    ) -> None:
        # Most files are on one element, and their rows are as told.
        unsure = {file.file_id for _, file in files if file.state not in _PLAIN}
        unsure |= await self._elsewhere(tx, element_id, file_ids)
        if not unsure:
            return
        states = sorted(LISTED), sorted(SPEAKING)
        await tx.execute(_settle(self.table), sorted(unsure), *states, timeout=APPLY_SECONDS)

    async def _elsewhere(
        self, tx: asyncpg.Connection[Any], element_id: str, file_ids: Sequence[str]
    ) -> set[str]:
        """Those of the files that have a row of another element."""
        rows = await tx.fetch(
            f"SELECT DISTINCT file_id FROM {self.table}"
            " WHERE file_id = ANY($1::text[]) AND storage_element_id <> $2",
            list(file_ids),
            element_id,
            timeout=APPLY_SECONDS,
        )
        return {row["file_id"] for row in rows}


def _lock_of(file_id: str) -> int:
    return zlib.crc32(file_id.encode()) % _LOCKS
