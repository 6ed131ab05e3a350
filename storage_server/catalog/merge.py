"""What a repair writes: rows read from sidecars, set by set, in short guarded transactions.

The rule of all of it: a repair notes the feed's head S0 before it lists or reads anything,
and changes or drops only rows with a sequence of at most S0. A direct write that came later
has a higher one and wins. Revisions decide nothing: a store restored from a backup has lower
ones and is the truth all the same.

Each transaction takes the fence, then `feed_head` FOR UPDATE, and computes its set only in
the next statement, whose snapshot therefore has every write that came before in the feed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg

from mesh.concurrency.bell import Bell
from mesh.postgres.database import Database
from storage_server.catalog.binary_rows import piece
from storage_server.catalog.expiry import expired_sql
from storage_server.catalog.fences import Fence, Fences
from storage_server.catalog.guarded import begin_guarded
from storage_server.catalog.rows import (
    CACHE_COLUMNS,
    WRITTEN_COLUMNS,
    has_bytes,
    intact,
    row_hash,
)
from storage_server.catalog.summaries import RowSummary
from storage_server.catalog.tables import Tables

BATCH = 2000
MERGED_TOGETHER = 10_000
_SENT_TOGETHER = 250


@dataclass(frozen=True, slots=True)
class Merged:
    """What a batch did.

    Attributes:
        created, updated, deleted: rows written anew and told to the feed that have bytes now,
            and had some before if `updated`; that had some before only are `deleted`, and what
            is and stays a tombstone or stub is none of them.
        renewed: rows that say the same; only identity and cache_updated_at were set.
        newer: ids left alone: a direct write changed the row after S0, or an upload of it is
            between its sidecar and its row, which it will write itself.
    """

    created: int = 0
    updated: int = 0
    deleted: int = 0
    renewed: int = 0
    newer: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RenewedPage:
    """How many rows of a page were renewed, and its last file id: None after the last page."""

    renewed: int
    last_id: str | None


class Merge:
    """Every call raises Unavailable when PostgreSQL does not answer, Aborted when fenced out.

    After Unavailable it is open whether a batch was written; repeating it is harmless.
    """

    def __init__(self, database: Database, tables: Tables, fences: Fences, bell: Bell) -> None:
        self._database = database
        self._tables = tables
        self._fences = fences
        self._bell = bell
        self._stage = f"{tables.prefix}stage"

    async def merge(self, found: Sequence[bytes], *, s0: int, fence: Fence) -> Merged:
        """Make the rows of some files say what their sidecars say; at most MERGED_TOGETHER of them.

        A missing row is inserted; a row that differs from the sidecar, or is damaged, is
        written anew; one that says the same is renewed.

        Args:
            found: of each sidecar what `binary_rows` makes of it; distinct file ids.
            s0: the feed's head as noted before the first of them was read.
        """
        async with self._database.transaction(patient=True) as connection:
            await self._fill_stage(connection, found)
            await self._begin(connection, fence)
            (record,) = await connection.fetch(self._merge_statement(), s0)
        self._bell.ring()
        return Merged(
            created=record["created"],
            updated=record["updated"],
            deleted=record["deleted"],
            renewed=record["renewed"],
            newer=tuple(record["newer"]),
        )

    async def drop(self, file_ids: Sequence[str], *, s0: int, fence: Fence) -> Sequence[str]:
        """Drop rows whose sidecars are proved to be gone; at most BATCH of them.

        The caller has a complete listing without them and a direct stat of each path that
        says absent. Answers the ids that were dropped; rows changed after S0 stay.
        """
        async with self._database.transaction(patient=True) as connection:
            await self._begin(connection, fence)
            records = await connection.fetch(
                f"""
                WITH gone AS (
                    DELETE FROM {self._tables.files}
                    WHERE file_id = ANY($1::text[]) AND sequence <= $2 RETURNING file_id
                ),
                numbered AS (SELECT file_id, row_number() OVER (ORDER BY file_id) AS n FROM gone),
                head AS (
                    UPDATE {self._tables.feed_head} h
                    SET seq = h.seq + (SELECT count(*) FROM gone)
                    RETURNING h.seq - (SELECT count(*) FROM gone) AS base
                )
                INSERT INTO {self._tables.feed} (sequence, kind, file_id, cause)
                SELECT base + n, 'dropped', file_id, 'repair' FROM numbered, head
                RETURNING file_id
                """,
                list(file_ids),
                s0,
            )
        self._bell.ring()
        return [record["file_id"] for record in records]

    async def renew_page(
        self,
        after: str,
        exceptions: Sequence[str],
        *,
        s0: int,
        fence: Fence,
        now: datetime,
        cache_ttl_hours: int,
    ) -> RenewedPage:
        """Renew the next BATCH rows by file id, but for `exceptions` and rows changed after S0.

        Only cache_updated_at and the TTL are set; the feed is told nothing. Rows that were
        renewed since `now` keep their time, unless it lies in the future.

        Args:
            after: `last_id` of the page before; empty at first.
        """
        async with self._database.transaction(patient=True) as connection:
            await self._begin(connection, fence)
            (record,) = await connection.fetch(
                f"""
                WITH page AS (
                    SELECT file_id FROM {self._tables.files} WHERE file_id > $1
                    ORDER BY file_id LIMIT {BATCH}
                ),
                renewed AS (
                    UPDATE {self._tables.files} f
                    SET cache_updated_at = $2, cache_ttl_hours = $3
                    FROM page LEFT JOIN unnest($4::text[]) AS e(file_id) USING (file_id)
                    WHERE f.file_id = page.file_id AND e.file_id IS NULL
                      AND f.sequence <= $5 AND f.cache_updated_at NOT BETWEEN $2 AND $6
                    RETURNING f.file_id
                )
                SELECT (SELECT count(*) FROM renewed) AS renewed,
                       (SELECT max(file_id) FROM page) AS last_id
                """,
                after,
                now,
                cache_ttl_hours,
                list(exceptions),
                s0,
                max(now, datetime.now(UTC)),
            )
        return RenewedPage(record["renewed"], record["last_id"])

    async def delete_expired(
        self, rows: Sequence[RowSummary], *, fence: Fence, now: datetime
    ) -> int:
        """Remove those rows that are still as they were and expired; how many.

        The caller has found their files without them, so the feed is told nothing; the head
        remembers that rows are missing. Tombstones and files with an intent stay.
        """
        async with self._database.transaction(patient=True) as connection:
            await self._begin(connection, fence)
            tag = await connection.execute(
                f"""
                DELETE FROM {self._tables.files} f
                USING unnest($2::text[], $3::bigint[]) AS seen(file_id, sequence)
                WHERE f.file_id = seen.file_id AND f.sequence = seen.sequence
                  AND {has_bytes("f")} AND {expired_sql("f", "$1")}
                  AND NOT EXISTS (
                      SELECT FROM {self._tables.pending} p WHERE p.file_id = f.file_id)
                """,
                now,
                [row.file_id for row in rows],
                [row.sequence for row in rows],
            )
            deleted = int(tag.rpartition(" ")[2])
            if deleted:
                await connection.execute(
                    f"UPDATE {self._tables.feed_head} SET complete = false WHERE complete"
                )
        return deleted

    async def _begin(self, connection: asyncpg.Connection[Any], fence: Fence) -> None:
        await begin_guarded(connection, self._tables, self._fences, fence)

    async def _fill_stage(self, connection: asyncpg.Connection[Any], rows: Sequence[bytes]) -> None:
        fields = ", ".join(f"{name} {kind}" for name, kind in WRITTEN_COLUMNS.items())
        await connection.execute(f"CREATE TEMP TABLE {self._stage} ({fields}) ON COMMIT DROP")
        await connection.copy_to_table(
            self._stage,
            source=_in_pieces(rows),
            columns=list(WRITTEN_COLUMNS),
            schema_name="pg_temp",
            format="binary",
        )

    def _merge_statement(self) -> str:
        # `compared` is `domain.decisions.merge_action` in SQL.
        files, names = self._tables.files, ", ".join(WRITTEN_COLUMNS)
        changes = ", ".join(
            f"{name} = excluded.{name}"
            for name in (*WRITTEN_COLUMNS, "row_hash", "sequence")
            if name != "file_id"
        )
        renewals = ", ".join(f"{name} = s.{name}" for name in CACHE_COLUMNS if name != "digest")
        staged = ", ".join(f"s.{name}" for name in WRITTEN_COLUMNS)
        uploading = (
            f"EXISTS (SELECT FROM {self._tables.pending} p"
            " WHERE p.file_id = s.file_id AND p.kind = 'created')"
        )
        same = f"(f.digest = s.digest AND {intact('f')})"
        # Its sidecar was read, and then removed on purpose.
        purged = f"SELECT file_id FROM {self._tables.feed} WHERE sequence > $1 AND kind = 'purged'"
        return f"""
        WITH compared AS MATERIALIZED (
            SELECT s.file_id, f.file_id IS NULL AS missing,
                   CASE WHEN f.file_id IS NULL THEN NOT {uploading}
                             AND s.file_id NOT IN ({purged})
                        ELSE f.sequence <= $1 END AS old,
                   coalesce({same}, false) AS same,
                   {has_bytes("s")} AS live,
                   coalesce({has_bytes("f")}, false) AS was_live
            FROM pg_temp.{self._stage} s LEFT JOIN LATERAL (
                SELECT f.* FROM {files} f WHERE f.file_id = s.file_id OFFSET 0) f ON true
        ),
        todo AS (
            SELECT file_id, missing, live, was_live, row_number() OVER (ORDER BY file_id) AS n
            FROM compared
            WHERE old AND NOT same
        ),
        head AS (
            UPDATE {self._tables.feed_head} h SET seq = h.seq + (SELECT count(*) FROM todo)
            WHERE EXISTS (SELECT FROM todo)
            RETURNING h.seq - (SELECT count(*) FROM todo) AS base
        ),
        written AS (
            INSERT INTO {files} ({names}, row_hash, sequence)
            SELECT {staged}, {row_hash("s")}, head.base + todo.n
            FROM head, todo JOIN pg_temp.{self._stage} s USING (file_id)
            ON CONFLICT (file_id) DO UPDATE SET {changes}
        ),
        salt AS MATERIALIZED (SELECT gen_random_uuid()::text AS value),
        told AS (
            INSERT INTO {self._tables.feed}
                (sequence, change_id, kind, file_id, revision, cause)
            SELECT head.base + todo.n, md5(salt.value || todo.n)::uuid,
                   CASE WHEN s.state = 'deleted' THEN 'deleted'
                        WHEN todo.missing THEN 'created' ELSE 'updated' END,
                   todo.file_id, s.revision, 'repair'
            FROM salt, head, todo JOIN pg_temp.{self._stage} s USING (file_id)
        ),
        renewed AS (
            UPDATE {files} f SET {renewals}
            FROM pg_temp.{self._stage} s JOIN compared c USING (file_id)
            WHERE f.file_id = s.file_id AND c.old AND c.same
            RETURNING f.file_id
        )
        SELECT (SELECT count(*) FROM todo WHERE live AND NOT was_live) AS created,
               (SELECT count(*) FROM todo WHERE live AND was_live) AS updated,
               (SELECT count(*) FROM todo WHERE was_live AND NOT live) AS deleted,
               (SELECT count(*) FROM renewed) AS renewed,
               ARRAY(SELECT file_id FROM compared WHERE NOT old) AS newer
        """


async def _in_pieces(rows: Sequence[bytes]) -> AsyncIterator[bytes]:
    """A whole COPY, some hundred KiB at a time."""
    for start in range(0, len(rows), _SENT_TOGETHER):
        yield piece(
            rows[start : start + _SENT_TOGETHER],
            first=start == 0,
            last=start + _SENT_TOGETHER >= len(rows),
        )
