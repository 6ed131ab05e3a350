"""The counters beside the feed's head, set by the rows while writes go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mesh.postgres.database import Database
from storage_server.catalog.fences import Fence, Fences
from storage_server.catalog.guarded import begin_guarded
from storage_server.catalog.rows import has_bytes
from storage_server.catalog.tables import Tables
from storage_server.catalog.writes import MAX_COUNTER

_CORRECTIONS = 3


@dataclass(frozen=True, slots=True)
class _Count:
    """What one statement saw of rows and counters.

    Attributes:
        rows: how many there are in each folder, tombstones too.
        live_rows: those that have bytes.
        active_rows: those that are homes.
        used_bytes: of the blobs that are there.
        bytes_off, files_off: what the counters lack.
    """

    rows: Mapping[str, int]
    live_rows: int
    active_rows: int
    used_bytes: int
    bytes_off: int
    files_off: int


class Counters:
    """Every call raises Unavailable when PostgreSQL does not answer, Aborted when fenced out."""

    def __init__(self, database: Database, tables: Tables, fences: Fences) -> None:
        self._database = database
        self._tables = tables
        self._fences = fences

    async def recount(self, *, fence: Fence, expected: Mapping[str, int] | None = None) -> int:
        """Set the counters by the rows, after a repair has made those equal to the sidecars.

        Answers how many rows have bytes. An upload that has no row yet is counted when
        its intent ends.

        Writes go on: rows are counted beside the counters of the same moment, and the counters
        are then moved by the difference. Should a write meanwhile have met a counter that could
        not go below 0, it is done once more.

        Args:
            expected: by folder, how many rows the repair knows of. If one has fewer, rows were
                removed meanwhile, and files without a row are still to be found.
        """
        counted = await self._count()
        for _ in range(_CORRECTIONS):
            present = counted.rows
            complete = all(present.get(path, 0) >= rows for path, rows in (expected or {}).items())
            quiet = await self._correct(fence, counted, complete=complete)
            if quiet or not (counted.bytes_off or counted.files_off):
                break
            counted = await self._count()
        return counted.live_rows

    async def _count(self) -> _Count:
        records = await self._database.fetch(
            f"""
            SELECT h.used_bytes, h.file_count, f.* FROM {self._tables.feed_head} h
            LEFT JOIN (
                SELECT storage_path, count(*) AS rows,
                       count(*) FILTER (WHERE {has_bytes("f")}) AS live_rows,
                       count(*) FILTER (WHERE state = 'active') AS active_rows,
                       coalesce(sum(size_bytes) FILTER (WHERE blob_present), 0) AS bytes
                FROM {self._tables.files} f GROUP BY storage_path) f ON true
            """,
            patient=True,
        )
        if not records:
            raise self._tables.head_lost()
        head, folders = records[0], [one for one in records if one["rows"] is not None]
        active_rows = sum(one["active_rows"] for one in folders)
        used_bytes = min(MAX_COUNTER, sum(int(one["bytes"]) for one in folders))
        return _Count(
            rows={one["storage_path"]: one["rows"] for one in folders},
            live_rows=sum(one["live_rows"] for one in folders),
            active_rows=active_rows,
            used_bytes=used_bytes,
            bytes_off=used_bytes - head["used_bytes"],
            files_off=active_rows - head["file_count"],
        )

    async def _correct(self, fence: Fence, counted: _Count, *, complete: bool) -> bool:
        """Move the counters; whether nobody else has moved them since they were read."""
        async with self._database.transaction(patient=True) as connection:
            await begin_guarded(connection, self._tables, self._fences, fence)
            await connection.execute("SET LOCAL synchronous_commit = on")
            record = await connection.fetchrow(
                f"""
                UPDATE {self._tables.feed_head} SET
                    used_bytes = least({MAX_COUNTER}, greatest(0, used_bytes::numeric + $1)),
                    file_count = greatest(0, file_count + $2),
                    complete = $3
                RETURNING used_bytes, file_count
                """,
                counted.bytes_off,
                counted.files_off,
                complete,
            )
        return tuple(record or ()) == (counted.used_bytes, counted.active_rows)
