"""Table `collections`: the runs that began, and what each came to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg

from admin_server.audit.own import record
from admin_server.collection.collection import Collection, Count, Reason
from mesh.postgres.database import Database

# So many runs are kept: a month of hours, and whatever people ask for.
KEPT = 1000


class CollectionTable:
    """Reads and writes it; every call raises `Unavailable` while the database is down.

    A run that somebody asked for is in the audit, and so is an hourly one that took something.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, run: Collection) -> None:
        """A run begins."""
        async with self._database.transaction() as connection:
            await connection.execute(
                "INSERT INTO collections (collection_id, started_at, dry_run, requested_by)"
                " VALUES ($1, $2, $3, $4) ON CONFLICT (collection_id) DO UPDATE SET"
                " started_at = excluded.started_at, ended_at = NULL, dry_run = excluded.dry_run,"
                " requested_by = excluded.requested_by",
                run.collection_id,
                run.started_at,
                run.dry_run,
                run.requested_by,
            )
            await connection.execute(
                "DELETE FROM collections WHERE collection_id IN (SELECT collection_id"
                f" FROM collections ORDER BY started_at DESC, collection_id DESC OFFSET {KEPT})"
            )

    async def end(self, run: Collection) -> None:
        """It has ended."""
        async with self._database.transaction() as connection:
            await connection.execute(
                "UPDATE collections SET ended_at = $2, examined_count = $3, collected_count = $4,"
                " freed_size_bytes = $5, error_count = $6, errors = $7, counts = $8::text::json"
                " WHERE collection_id = $1",
                run.collection_id,
                run.ended_at,
                run.examined_count,
                run.collected_count,
                run.freed_size_bytes,
                run.error_count,
                list(run.errors),
                json.dumps([_packed(count) for count in run.counts]),
            )
            if run.requested_by or run.collected_count:
                await self._record(connection, run)

    async def end_cut_off(self, collection_id: str) -> None:
        """A run that removes begins, so those on record without an end have none to come.

        Args:
            collection_id: of the run that begins.
        """
        await self._database.execute(
            "UPDATE collections SET ended_at = now(), error_count = error_count + 1,"
            " errors = errors || 'cut off: its admin was stopped, or lost its database'::text"
            " WHERE ended_at IS NULL AND NOT dry_run AND collection_id <> $1",
            collection_id,
        )

    async def last_by_itself(self) -> datetime | None:
        """When the last run began that nobody asked for."""
        last: datetime | None = await self._database.fetchval(
            "SELECT max(started_at) FROM collections WHERE requested_by = '' AND NOT dry_run"
        )
        return last

    async def newest(
        self, *, before: tuple[datetime, str] | None, limit: int
    ) -> tuple[Sequence[Collection], int]:
        """(runs, newest first; how many are kept)."""
        started_at, collection_id = before or (None, "")
        rows = await self._database.fetch(
            "SELECT * FROM collections WHERE $1::timestamptz IS NULL"
            " OR (started_at, collection_id) < ($1, $2)"
            " ORDER BY started_at DESC, collection_id DESC LIMIT $3",
            started_at,
            collection_id,
            limit,
        )
        total: int = await self._database.fetchval("SELECT count(*) FROM collections")
        return [_of_row(row) for row in rows], total

    async def _record(self, connection: asyncpg.Connection[Any], run: Collection) -> None:
        await record(
            connection,
            "RunCollection",
            run.collection_id,
            dry_run=run.dry_run or None,
            collected=run.collected_count,
            freed_size_bytes=run.freed_size_bytes,
            errors=run.error_count or None,
        )


def _packed(count: Count) -> dict[str, Any]:
    return {
        "reason": count.reason.value,
        "count": count.count,
        "size_bytes": count.size_bytes,
        "examples": list(count.examples),
    }


def _of_row(row: asyncpg.Record) -> Collection:
    return Collection(
        collection_id=row["collection_id"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        dry_run=row["dry_run"],
        requested_by=row["requested_by"],
        examined_count=row["examined_count"],
        collected_count=row["collected_count"],
        freed_size_bytes=row["freed_size_bytes"],
        error_count=row["error_count"],
        errors=row["errors"],
        counts=[
            Count(Reason(one["reason"]), one["count"], one["size_bytes"], one["examples"])
            for one in json.loads(row["counts"])
        ],
    )
