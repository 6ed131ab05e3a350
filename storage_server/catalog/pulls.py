"""Pulls: files on their way here from another element, as far as their bytes have come.

What is on record goes on after a restart, and is no leftover to whoever sweeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg
import orjson

from mesh.postgres.database import Database
from storage_server.catalog.tables import Tables
from storage_server.store.port import StagedState

_COLUMNS = (
    "file_id, path, sha256, size_bytes, stage_key, committed_size_bytes, parts, began_at,"
    " touched_at"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRow:
    """A pull that is open; there is one of a file at most.

    Attributes:
        path: where its blob will be placed.
        sha256, size_bytes: of the file, as its ticket said.
        stage: what the store needs to go on.
        touched_at: when it last came further, or was asked for again.
    """

    file_id: str
    path: str
    sha256: str
    size_bytes: int
    stage: StagedState
    began_at: datetime
    touched_at: datetime


class Pulls:
    """Every call raises Unavailable when PostgreSQL does not answer in time."""

    def __init__(self, database: Database, tables: Tables) -> None:
        self._database = database
        self._tables = tables

    async def put(self, pull: PullRow) -> None:
        """Put a pull on record, in the place of what is on record of its file."""
        await self._database.execute(
            f"INSERT INTO {self._tables.pulls} ({_COLUMNS})"
            " VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb, $8, $9)"
            " ON CONFLICT (file_id) DO UPDATE SET path = excluded.path, sha256 = excluded.sha256,"
            " size_bytes = excluded.size_bytes, stage_key = excluded.stage_key,"
            " committed_size_bytes = excluded.committed_size_bytes, parts = excluded.parts,"
            " began_at = excluded.began_at, touched_at = excluded.touched_at",
            pull.file_id,
            pull.path,
            pull.sha256,
            pull.size_bytes,
            pull.stage.key,
            pull.stage.committed_size_bytes,
            orjson.dumps([list(part) for part in pull.stage.parts]).decode(),
            pull.began_at,
            pull.touched_at,
        )

    async def get(self, file_id: str) -> PullRow | None:
        """The pull of a file that is open."""
        record = await self._database.fetchrow(
            f"SELECT {_COLUMNS} FROM {self._tables.pulls} WHERE file_id = $1", file_id
        )
        return None if record is None else _row(record)

    async def delete(self, file_id: str) -> None:
        """It has ended. Idempotent."""
        await self._database.execute(
            f"DELETE FROM {self._tables.pulls} WHERE file_id = $1", file_id
        )

    async def list_open(self) -> Sequence[PullRow]:
        """All that are open, oldest first."""
        records = await self._database.fetch(
            f"SELECT {_COLUMNS} FROM {self._tables.pulls} ORDER BY began_at, file_id"
        )
        return [_row(record) for record in records]


def _row(record: asyncpg.Record) -> PullRow:
    parts = tuple(
        (number, etag, size, crc) for number, etag, size, crc in orjson.loads(record["parts"])
    )
    return PullRow(
        file_id=record["file_id"],
        path=record["path"],
        sha256=record["sha256"],
        size_bytes=record["size_bytes"],
        stage=StagedState(record["stage_key"], record["committed_size_bytes"], parts),
        began_at=record["began_at"],
        touched_at=record["touched_at"],
    )
