"""Resumable uploads: what survives a restart of client, ingest and element."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg
import orjson

from mesh.postgres.database import Database
from storage_server.catalog.tables import Tables
from storage_server.store.port import StagedState

_COLUMNS = (
    "upload_id, file_id, path, state, created_by, request_id, header, token_hash,"
    " reserved_bytes, stage_key, committed_size_bytes, parts, created_at, touched_at,"
    " received_bytes"
)
# Of the account $1 (empty: of all), to namespaces $2 (NULL: to all).
_WANTED = (
    "state = 'open' AND ($1 = '' OR created_by = $1) AND ($2::text[] IS NULL"
    " OR convert_from(header, 'UTF8')::jsonb ->> 'namespace' = ANY($2))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRow:
    """A resumable upload.

    Attributes:
        path: where its blob will be placed.
        header: the header as JSON, in UTF-8; its `namespace` is what lists are made by.
        token_hash: SHA-256 of the upload token.
        reserved_bytes: room it holds.
        stage: what the store needs to go on; `committed_size_bytes` is the recorded offset.
        committed: the file exists; the row stays so that a second commit finds it.
        received_bytes: how far its sender came, also where the store did not keep all of it: a
            file has no fewer.
    """

    upload_id: str
    file_id: str
    path: str
    created_by: str
    request_id: str
    header: bytes
    token_hash: bytes
    reserved_bytes: int
    stage: StagedState
    created_at: datetime
    touched_at: datetime
    committed: bool = False
    received_bytes: int = 0


class Uploads:
    """Every call raises Unavailable when PostgreSQL does not answer in time."""

    def __init__(self, database: Database, tables: Tables) -> None:
        self._database = database
        self._tables = tables

    async def create(self, upload: UploadRow) -> None:
        """Put a new upload on record. The id must be new."""
        await self._database.execute(
            f"INSERT INTO {self._tables.uploads} ({_COLUMNS})"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::jsonb, $13, $14, $15)",
            upload.upload_id,
            upload.file_id,
            upload.path,
            "committed" if upload.committed else "open",
            upload.created_by,
            upload.request_id,
            upload.header,
            upload.token_hash,
            upload.reserved_bytes,
            upload.stage.key,
            upload.stage.committed_size_bytes,
            _parts(upload.stage),
            upload.created_at,
            upload.touched_at,
            upload.received_bytes,
        )

    async def get(self, upload_id: str) -> UploadRow | None:
        """An upload, open or committed."""
        record = await self._database.fetchrow(
            f"SELECT {_COLUMNS} FROM {self._tables.uploads} WHERE upload_id = $1", upload_id
        )
        return None if record is None else _row(record)

    async def of_file(self, file_id: str) -> Sequence[UploadRow]:
        """The uploads, open or committed, whose file has this id."""
        records = await self._database.fetch(
            f"SELECT {_COLUMNS} FROM {self._tables.uploads} WHERE file_id = $1", file_id
        )
        return [_row(record) for record in records]

    async def find_by_request(
        self, created_by: str, request_id: str, *, since: datetime
    ) -> UploadRow | None:
        """The latest upload of this account with this request id.

        Args:
            since: those committed before then are left out; open ones count however old.
        """
        record = await self._database.fetchrow(
            f"SELECT {_COLUMNS} FROM {self._tables.uploads}"
            " WHERE created_by = $1 AND request_id = $2 AND request_id <> ''"
            " AND (state = 'open' OR touched_at >= $3) ORDER BY created_at DESC LIMIT 1",
            created_by,
            request_id,
            since,
        )
        return None if record is None else _row(record)

    async def record_progress(
        self,
        upload_id: str,
        stage: StagedState,
        *,
        reserved_bytes: int,
        received_bytes: int,
        now: datetime,
    ) -> bool:
        """What a checkpoint has made durable. False when the upload is not open any more."""
        tag = await self._database.execute(
            f"UPDATE {self._tables.uploads} SET stage_key = $2, committed_size_bytes = $3,"
            " parts = $4::jsonb, reserved_bytes = $5, received_bytes = $6, touched_at = $7"
            " WHERE upload_id = $1 AND state = 'open'",
            upload_id,
            stage.key,
            stage.committed_size_bytes,
            _parts(stage),
            reserved_bytes,
            received_bytes,
            now,
        )
        return tag == "UPDATE 1"

    async def replace_token(self, upload_id: str, token_hash: bytes, *, now: datetime) -> bool:
        """A new token for an upload that is still open; the old one stops working."""
        tag = await self._database.execute(
            f"UPDATE {self._tables.uploads} SET token_hash = $2, touched_at = $3"
            " WHERE upload_id = $1",
            upload_id,
            token_hash,
            now,
        )
        return tag == "UPDATE 1"

    async def finish(self, upload_id: str, *, now: datetime) -> None:
        """The file is committed: give its room back and keep the row. Idempotent."""
        await self._database.execute(
            f"UPDATE {self._tables.uploads} SET state = 'committed', reserved_bytes = 0,"
            " touched_at = $2 WHERE upload_id = $1",
            upload_id,
            now,
        )

    async def delete(self, upload_id: str) -> None:
        """Forget an upload. Idempotent."""
        await self._database.execute(
            f"DELETE FROM {self._tables.uploads} WHERE upload_id = $1", upload_id
        )

    async def list_open(self) -> Sequence[UploadRow]:
        """All open uploads, oldest first."""
        records = await self._database.fetch(
            f"SELECT {_COLUMNS} FROM {self._tables.uploads} WHERE state = 'open'"
            " ORDER BY created_at, upload_id"
        )
        return [_row(record) for record in records]

    async def lapse(self, created_before: datetime, *, sending: Collection[str]) -> Sequence[str]:
        """Free the room of open uploads that began before then and have no byte on record.

        Answers their ids.

        Args:
            sending: ids of those that have bytes which are not on record yet; they are left out.
        """
        records = await self._database.fetch(
            f"UPDATE {self._tables.uploads} SET reserved_bytes = 0"
            " WHERE state = 'open' AND committed_size_bytes = 0 AND reserved_bytes > 0"
            " AND created_at < $1 AND upload_id <> ALL($2) RETURNING upload_id",
            created_before,
            list(sending),
        )
        return [record["upload_id"] for record in records]

    async def list_page(
        self,
        *,
        created_by: str,
        namespaces: Collection[str] | None,
        before: tuple[datetime, str] | None,
        limit: int,
    ) -> tuple[Sequence[UploadRow], int]:
        """(open uploads, newest first; how many there are on all pages).

        Args:
            created_by: only of this account; empty means all.
            namespaces: only those to these namespaces; None means all.
            before: creation and id of the last one on the page before.
        """
        wanted = created_by, None if namespaces is None else list(namespaces)
        records = await self._database.fetch(
            f"SELECT {_COLUMNS} FROM {self._tables.uploads} WHERE {_WANTED}"
            " AND ($3::timestamptz IS NULL OR (created_at, upload_id) < ($3, $4))"
            " ORDER BY created_at DESC, upload_id DESC LIMIT $5",
            *wanted,
            before[0] if before else None,
            before[1] if before else "",
            limit,
        )
        total = await self._database.fetchval(
            f"SELECT count(*) FROM {self._tables.uploads} WHERE {_WANTED}", *wanted
        )
        return [_row(record) for record in records], total

    async def list_idle(self, touched_before: datetime, *, limit: int = 100) -> Sequence[UploadRow]:
        """Uploads, open or committed, that nobody has touched since then."""
        records = await self._database.fetch(
            f"SELECT {_COLUMNS} FROM {self._tables.uploads} WHERE touched_at < $1"
            " ORDER BY touched_at LIMIT $2",
            touched_before,
            limit,
        )
        return [_row(record) for record in records]


def _parts(stage: StagedState) -> str:
    return orjson.dumps([list(part) for part in stage.parts]).decode()


def _row(record: asyncpg.Record) -> UploadRow:
    parts = tuple(
        (number, etag, size, crc) for number, etag, size, crc in orjson.loads(record["parts"])
    )
    return UploadRow(
        upload_id=record["upload_id"],
        file_id=record["file_id"],
        path=record["path"],
        created_by=record["created_by"],
        request_id=record["request_id"],
        header=record["header"],
        token_hash=record["token_hash"],
        reserved_bytes=record["reserved_bytes"],
        stage=StagedState(record["stage_key"], record["committed_size_bytes"], parts),
        created_at=record["created_at"],
        touched_at=record["touched_at"],
        committed=record["state"] == "committed",
        received_bytes=record["received_bytes"],
    )
