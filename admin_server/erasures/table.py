"""Erasures on record: the second witness in a mesh with one element, and what remains to be done.

What is lost of it is found again from the erased sidecars, as the registry follows them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from admin_server.audit import own
from admin_server.registry.registry import TABLE
from mesh.postgres.database import Database

# The longest pause before everybody is asked again; who is back is asked at once.
MAX_PAUSE_SECONDS = 600.0
FIRST_PAUSE_SECONDS = 2.0
# An element that reports and does not answer is not asked more often than that.
BACK_SECONDS = 5.0
BATCH = 50

_COLUMNS = (
    "file_id, namespace, reason, requested_by, operation_id, requested_at, done_at,"
    " erased_on, waits_for, held_on"
)
_LISTS = ("erased_on", "waits_for", "held_on")
# Of what is erased somewhere: what admin has no record of, and what came back somewhere since.
_FOUND = f"""
    SELECT e.file_id, max(e.namespace) AS namespace, max(e.description) AS reason,
           max(e.updated_by) AS requested_by
    FROM {TABLE} e LEFT JOIN erasures k USING (file_id)
    WHERE e.state = 'erased' AND (k.file_id IS NULL OR k.done_at IS NOT NULL AND EXISTS (
        SELECT FROM {TABLE} o WHERE o.file_id = e.file_id AND o.state <> 'erased')
        AND k.done_at < now() - interval '{BACK_SECONDS} seconds')
    GROUP BY e.file_id LIMIT {BATCH}
"""
# Of what was held somewhere: nobody holds it any more.
_RELEASED = f"""
    held_on <> '{{}}' AND NOT EXISTS (
        SELECT FROM {TABLE} r WHERE r.file_id = erasures.file_id AND r.legal_hold)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """One file that is erased.

    Attributes:
        namespace: the file's; empty if nobody knew it.
        done_at: when nothing was left to do; None before.
        erased_on: elements that have it on record.
        waits_for: elements that may have something of it and did not answer.
        held_on: elements that have it under legal hold: an ADMIN decides.
    """

    file_id: str
    namespace: str
    reason: str
    requested_by: str
    operation_id: str
    requested_at: datetime
    done_at: datetime | None = None
    erased_on: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()
    held_on: tuple[str, ...] = ()


class ErasureTable:
    """Every call raises Unavailable while the database is down."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, file_id: str) -> Erasure | None:
        """What is on record of a file."""
        row = await self._database.fetchrow(
            f"SELECT {_COLUMNS} FROM erasures WHERE file_id = $1", file_id
        )
        return None if row is None else _erasure(row)

    async def put(
        self, file_id: str, *, namespace: str, reason: str, requested_by: str, operation_id: str
    ) -> Erasure:
        """Put it on record, and in the audit. `found` may have been quicker."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(
                "INSERT INTO erasures (file_id, namespace, reason, requested_by, operation_id)"
                " VALUES ($1, $2, $3, $4, $5) ON CONFLICT (file_id) DO UPDATE"
                f" SET operation_id = excluded.operation_id RETURNING {_COLUMNS}",
                file_id,
                namespace,
                reason,
                requested_by,
                operation_id,
            )
            await own.record(connection, "EraseFile", file_id, reason=reason)
        return _erasure(row)

    async def found(self) -> int:
        """Take up what is erased somewhere and not done here; how many files."""
        tag: str = await self._database.execute(
            "INSERT INTO erasures (file_id, namespace, reason, requested_by, operation_id)"
            f" SELECT file_id, namespace, reason, requested_by, 'erase-' || file_id FROM ({_FOUND})"
            " found ON CONFLICT (file_id) DO UPDATE SET done_at = NULL, attempts = 0,"
            " next_attempt_at = now()"
        )
        return int(tag.rpartition(" ")[2])

    async def due(self, healthy: Collection[str]) -> Sequence[Erasure]:
        """Some that are to be tried now; they are this process's for a while.

        Args:
            healthy: elements that report; what waits for one of them is due.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"""
                UPDATE erasures SET attempts = attempts + 1, attempted_at = now(),
                    next_attempt_at = now() + make_interval(
                        secs => least($1, $2 * 2 ^ least(attempts, 20)))
                WHERE file_id IN (
                    SELECT file_id FROM erasures WHERE done_at IS NULL AND (
                        next_attempt_at <= now() OR (
                            (waits_for && $3::text[] OR {_RELEASED})
                            AND attempted_at < now() - make_interval(secs => $4)))
                    ORDER BY next_attempt_at LIMIT {BATCH} FOR UPDATE SKIP LOCKED)
                RETURNING {_COLUMNS}
                """,
                MAX_PAUSE_SECONDS,
                FIRST_PAUSE_SECONDS,
                list(healthy),
                BACK_SECONDS,
            )
        return [_erasure(row) for row in rows]

    async def undone(self, *, limit: int = 100) -> Sequence[Erasure]:
        """Those of which something remains, the newest first."""
        rows = await self._database.fetch(
            f"SELECT {_COLUMNS} FROM erasures WHERE done_at IS NULL"
            " ORDER BY requested_at DESC LIMIT $1",
            limit,
        )
        return [_erasure(row) for row in rows]

    async def note(
        self,
        file_id: str,
        *,
        erased_on: Collection[str],
        waits_for: Collection[str],
        held_on: Collection[str],
        done: bool,
    ) -> None:
        """What was found when everybody was asked. What a transfer of the file met is forgotten."""
        await self._database.execute(
            "WITH silenced AS (UPDATE transfers SET error = '' WHERE file_id = $1 AND error <> '')"
            " UPDATE erasures SET erased_on = $2, waits_for = $3, held_on = $4,"
            " done_at = CASE WHEN $5 THEN coalesce(done_at, now()) END WHERE file_id = $1",
            file_id,
            sorted(erased_on),
            sorted(waits_for),
            sorted(held_on),
            done,
        )

    async def registered(self, file_id: str) -> Sequence[Mapping[str, Any]]:
        """What the registry has of the file: element, state, namespace, legal_hold."""
        rows = await self._database.fetch(
            f"SELECT storage_element_id, state, namespace, legal_hold FROM {TABLE}"
            " WHERE file_id = $1",
            file_id,
        )
        return [dict(row) for row in rows]


def _erasure(row: Any) -> Erasure:
    values: dict[str, Any] = {name: row[name] for name in Erasure.__dataclass_fields__}
    return Erasure(**values | {name: tuple(row[name]) for name in _LISTS})
