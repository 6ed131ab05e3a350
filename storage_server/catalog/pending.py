"""Intents: a write is on record before its sidecar is touched.

Whatever crashes between the sidecar and its row leaves the intent. The file is then read as
expired, and the intent is replayed from the sidecar under the file's lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from mesh.postgres.database import Database
from storage_server.catalog.tables import Tables
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.origin import OF_REPAIR, Cause, Origin


@dataclass(frozen=True, slots=True)
class Counted:
    """What the counters have of one file; nothing by default.

    Attributes:
        homes: 1 of an active file.
        size_bytes: of its blob, where that exists.
    """

    homes: int = 0
    size_bytes: int = 0


NOTHING_COUNTED = Counted()


@dataclass(frozen=True, slots=True)
class PendingWrite:
    """An intent.

    Attributes:
        path: of the sidecar, relative to the element's root.
        request_id: of the upload, as the sidecar has it.
        revision: of the sidecar to be written; None in one of an earlier version, which also has
            no origin.
        digest: of its fields; None when they are not known yet, which is so of an upload.
        origin: whose write it is.
        counted: of the file as it was; None in one of an earlier version.
    """

    pending_id: int
    file_id: str
    path: str
    kind: ChangeKind
    request_id: str
    created_at: datetime
    revision: int | None = None
    digest: bytes | None = None
    origin: Origin | None = None
    counted: Counted | None = None

    def wrote(self, revision: int, digest: bytes) -> bool:
        """Whether a sidecar with these is the one that was to be written.

        Of an intent of an earlier version it is taken for granted.
        """
        if self.revision is None:
            return True
        return self.revision == revision and self.digest in (None, digest)


def that_wrote(
    intents: Iterable[PendingWrite], revision: int, digest: bytes
) -> PendingWrite | None:
    """The intent whose sidecar was written; None when it is nobody's.

    Of several it is the newest, but one of a repair, which stands for what may be left of an upload
    and sends nothing, comes last. The statement of `Writes.commit_row` chooses in the same way
    whose change it tells.
    """
    wrote = [
        one for one in intents if one.kind is not ChangeKind.PURGED and one.wrote(revision, digest)
    ]
    return max(wrote, key=_likelihood, default=None)


def _likelihood(intent: PendingWrite) -> tuple[bool, bool, int]:
    return intent.origin != OF_REPAIR, intent.revision is not None, intent.pending_id


class Pending:
    """The table of intents. Every call raises Unavailable when PostgreSQL does not answer."""

    def __init__(self, database: Database, tables: Tables) -> None:
        self._database = database
        self._tables = tables

    async def begin_write(
        self,
        file_id: str,
        path: str,
        kind: ChangeKind,
        request_id: str = "",
        *,
        by: Origin,
        revision: int,
        digest: bytes | None = None,
        counted: Counted = NOTHING_COUNTED,
    ) -> int:
        """Commit an intent and answer its id. The caller holds the file's lock.

        On Unavailable the intent may exist all the same; replaying it changes nothing.

        Args:
            by: told to the feed once the row is written, by whomever.
            revision, digest: see `PendingWrite`.
            counted: of the file as it is before the write; the row tells it where there is one.
        """
        async with self._database.connection() as connection:
            return int(
                await connection.fetchval(
                    f"INSERT INTO {self._tables.pending} (file_id, path, kind, request_id,"
                    " revision, digest, cause, actor, call_request_id, reason,"
                    " counted_homes, counted_bytes)"
                    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
                    " RETURNING pending_id",
                    file_id,
                    path,
                    kind.value,
                    request_id,
                    revision,
                    digest,
                    by.cause.value,
                    by.actor,
                    by.request_id,
                    by.reason,
                    counted.homes,
                    counted.size_bytes,
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
            "SELECT pending_id, file_id, path, kind, request_id, created_at, revision, digest,"
            " cause, actor, call_request_id, reason, counted_homes, counted_bytes"
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
                record["revision"],
                record["digest"],
                origin_of(record),
                None
                if record["counted_homes"] is None
                else Counted(record["counted_homes"], record["counted_bytes"]),
            )
            for record in records
        ]


def origin_of(record: asyncpg.Record) -> Origin | None:
    """The origin in a record of an intent or a feed entry; None in one of an earlier version, and
    where the cause is one that only a later version knows.
    """
    try:
        cause = Cause(record["cause"])
    except ValueError:
        return None
    return Origin(
        cause,
        record["actor"] or "",
        record["call_request_id"] or "",
        record["reason"] or "",
    )
