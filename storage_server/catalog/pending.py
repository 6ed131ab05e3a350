"""Intents: a write is on record before its sidecar is touched.

Whatever crashes between the sidecar and its row leaves the intent. The file is then read as
expired, and the intent is replayed from the sidecar under the file's lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mesh.postgres.database import Database
from storage_server.catalog.tables import Tables
from storage_server.domain.kinds import ChangeKind


@dataclass(frozen=True, slots=True)
class PendingWrite:
    """An intent. `path` is that of the sidecar, relative to the element's root."""

    pending_id: int
    file_id: str
    path: str
    kind: ChangeKind
    request_id: str
    created_at: datetime


class Pending:
    """The table of intents. Every call raises Unavailable when PostgreSQL does not answer."""

    def __init__(self, database: Database, tables: Tables) -> None:
        self._database = database
        self._tables = tables

    async def begin_write(
        self, file_id: str, path: str, kind: ChangeKind, request_id: str = ""
    ) -> int:
        """Commit an intent and answer its id. The caller holds the file's lock.

        On Unavailable the intent may exist all the same; replaying it changes nothing.
        """
        async with self._database.connection() as connection:
            return int(
                await connection.fetchval(
                    f"INSERT INTO {self._tables.pending} (file_id, path, kind, request_id)"
                    " VALUES ($1, $2, $3, $4) RETURNING pending_id",
                    file_id,
                    path,
                    kind.value,
                    request_id,
                )
            )

    async def end_pending(self, pending_id: int) -> None:
        """Drop an intent whose sidecar was not touched, or is known to be gone. Idempotent."""
        await self._database.execute(
            f"DELETE FROM {self._tables.pending} WHERE pending_id = $1", pending_id
        )

    async def pending_ids(self) -> frozenset[str]:
        """Ids of the files that have an intent."""
        records = await self._database.fetch(f"SELECT DISTINCT file_id FROM {self._tables.pending}")
        return frozenset(record["file_id"] for record in records)

    async def list_pending(self) -> Sequence[PendingWrite]:
        """All intents, oldest first."""
        return await self._list("true")

    async def of_file(self, file_id: str) -> Sequence[PendingWrite]:
        """Intents of one file, oldest first."""
        return await self._list("file_id = $1", file_id)

    async def of_request(self, request_id: str) -> Sequence[PendingWrite]:
        """Intents with this request id, of whatever account, oldest first."""
        return await self._list("request_id = $1 AND request_id <> ''", request_id)

    async def _list(self, condition: str, *arguments: str) -> Sequence[PendingWrite]:
        records = await self._database.fetch(
            "SELECT pending_id, file_id, path, kind, request_id, created_at"
            f" FROM {self._tables.pending} WHERE {condition} ORDER BY pending_id",
            *arguments,
        )
        return [
            PendingWrite(
                record["pending_id"],
                record["file_id"],
                record["path"],
                ChangeKind(record["kind"]),
                record["request_id"],
                record["created_at"],
            )
            for record in records
        ]
