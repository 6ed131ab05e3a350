"""Direct writes: row, feed entry, counters and the end of the intent in one statement.

Every statement takes `feed_head` before rows. The head's lock orders commits, so that
sequence order is commit order and has no gaps.

The counters: `file_count` counts homes, which are what is listed; `used_bytes` counts blobs that
exist, of copies too, and a tombstone's until its trash is removed. Both move only with direct
writes, by what the row said of the file before, or where it has none, the write's intent; and are
set anew by a repair that has seen a complete listing (`Counters.recount`). That rows come and go by
cleanup and repair changes neither.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from mesh.concurrency.bell import Bell
from mesh.errors import Aborted
from mesh.postgres.database import Database
from storage_server.catalog.epoch import Epoch
from storage_server.catalog.fences import Fence, Fences
from storage_server.catalog.rows import (
    WRITTEN_COLUMNS,
    FileRow,
    bytes_of,
    columns,
    from_record,
    homes_of,
    intact,
    row_hash,
    signed,
    to_values,
)
from storage_server.catalog.tables import Tables
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.sidecar import Sidecar
from storage_server.store.port import Identity

# A sidecar written by hand may claim any size; the counter then stays at the top.
MAX_COUNTER = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Committed:
    """Where a write stands in the feed: the content of its change token."""

    epoch: str
    sequence: int
    change_id: str


@dataclass(frozen=True, slots=True)
class Guarded:
    """What lets a lazy refresh write: no rebuild since its fence, no writer since its reading.

    Attributes:
        fence: drawn before the lock was taken.
        sequence: of the row as it was before the sidecar was read; None when there was none.
    """

    fence: Fence
    sequence: int | None


class Writes:
    """Every call raises Unavailable when PostgreSQL does not answer in time."""

    def __init__(
        self, database: Database, tables: Tables, fences: Fences, bell: Bell, epoch: Epoch
    ) -> None:
        self._database = database
        self._tables = tables
        self._fences = fences
        self._bell = bell
        self._epoch = epoch
        self._commit = _commit_statement(tables)
        self._purge = _purge_statement(tables)

    async def commit_row(
        self,
        sidecar: Sidecar,
        identity: Identity,
        kind: ChangeKind,
        *,
        now: datetime,
        cache_ttl_hours: int,
        blob_present: bool = True,
        guarded: Guarded | None = None,
    ) -> Committed:
        """Write what the sidecar now says to row and feed, and end the file's intents.

        The caller holds the file's lock and has just written or read the sidecar. A repeat
        (after Unavailable, which leaves open whether it was done) writes the same row and
        counts nothing twice; it takes one more sequence.

        Who made the change, and why, is what the intent says that wrote this sidecar, whoever
        ends it: writer, replay or refresh. Without such an intent the entry is a repair's, so
        each change is told as its caller's once.

        Args:
            now: becomes cache_updated_at.
            blob_present: False for a tombstone whose blob has gone.
            guarded: of a lazy refresh; a direct write has none, and always wins. A refresh ends
                the intent of an upload, whose file it counts, and leaves others to the replay.

        Raises:
            Aborted: reason PREEMPTED; what `guarded` stands for holds no more.
        """
        values = to_values(
            sidecar,
            identity,
            cache_updated_at=now,
            cache_ttl_hours=cache_ttl_hours,
            blob_present=blob_present,
        )
        async with self._committing(sidecar.file_id, guarded) as connection:
            records = await connection.fetch(self._commit, *values, kind.value, guarded is None)
            if not records:
                raise self._tables.head_lost()
        record = records[0]
        self._epoch.value = record["epoch"]
        self._bell.ring()
        return Committed(record["epoch"], record["sequence"], str(record["change_id"]))

    async def renew(
        self,
        file_id: str,
        *,
        guarded: Guarded,
        digest: bytes,
        identity: Identity,
        now: datetime,
        cache_ttl_hours: int,
    ) -> bool:
        """The sidecar was read: renew the row if it says the same, and is not damaged.

        Takes no sequence and tells the feed nothing. False when the row says something else,
        has been written since it was looked at, or is gone.

        Args:
            digest: of the sidecar.

        Raises:
            Aborted: as `commit_row`.
        """
        async with self._database.transaction() as connection:
            # One that a crash of PostgreSQL loses is an expired row again.
            await connection.execute("SET LOCAL synchronous_commit = off")
            await self._fences.require(connection, guarded.fence)
            tag = await connection.execute(
                f"UPDATE {self._tables.files} f SET cache_updated_at = $4, cache_ttl_hours = $5,"
                " sidecar_mtime_ns = $6, sidecar_size = $7, sidecar_inode = $8, sidecar_etag = $9"
                " WHERE f.file_id = $1 AND f.sequence = $2 AND f.digest = $3"
                f" AND {intact('f')}",
                file_id,
                guarded.sequence,
                digest,
                now,
                cache_ttl_hours,
                identity.mtime_ns,
                identity.size,
                signed(identity.inode),
                identity.etag,
            )
        return str(tag) == "UPDATE 1"

    async def set_cache_ttl(self, cache_ttl_hours: int) -> None:
        """After a change of mode: the TTL of all rows, in short statements."""
        after = ""
        while True:
            last = await self._set_cache_ttl_of_batch(after, cache_ttl_hours)
            if last is None:
                return
            after = last

    async def _set_cache_ttl_of_batch(self, after: str, cache_ttl_hours: int) -> str | None:
        async with self._database.transaction() as connection:
            await connection.execute(f"SELECT seq FROM {self._tables.feed_head} FOR UPDATE")
            last: str | None = await connection.fetchval(
                f"WITH batch AS (SELECT file_id FROM {self._tables.files} WHERE file_id > $1"
                " ORDER BY file_id LIMIT 2000), changed AS ("
                f"UPDATE {self._tables.files} f SET cache_ttl_hours = $2 FROM batch"
                " WHERE f.file_id = batch.file_id AND f.cache_ttl_hours <> $2)"
                " SELECT max(file_id) FROM batch",
                after,
                cache_ttl_hours,
            )
        return last

    # --- trash and tombstones ------------------------------------------------------------

    async def list_trash(
        self,
        deleted_before: datetime,
        *,
        namespace: str | None = None,
        but: Sequence[str] = (),
        after: FileRow | None = None,
        limit: int = 100,
    ) -> Sequence[FileRow]:
        """Tombstones deleted before then whose blob has not been removed yet, oldest first.

        Args:
            namespace: only of this one; None means all.
            but: of none of these.
            after: the last one of the page before.
        """
        return await self._tombstones(
            "blob_present AND ($5::text IS NULL OR namespace = $5)"
            " AND namespace <> ALL($6::text[])",
            deleted_before,
            after,
            limit,
            namespace,
            list(but),
        )

    async def blob_removed(self, file_id: str) -> bool:
        """The blob of a tombstone is gone from the store: give its bytes back, once.

        False when that was on record already, or the row is no tombstone any more.
        """
        async with self._database.connection() as connection:
            given_back = await connection.fetchval(
                f"WITH head AS (SELECT id FROM {self._tables.feed_head} FOR UPDATE), gone AS ("
                f" UPDATE {self._tables.files} f SET blob_present = false FROM head"
                " WHERE f.file_id = $1 AND f.blob_present AND f.state = 'deleted'"
                " RETURNING f.size_bytes)"
                f" UPDATE {self._tables.feed_head} h SET used_bytes ="
                " greatest(0, h.used_bytes - gone.size_bytes)"
                " FROM gone RETURNING gone.size_bytes",
                file_id,
            )
        return given_back is not None

    async def purge(self, file_id: str) -> Committed | None:
        """The sidecar of a file is gone on purpose: drop its row, tell the feed, end its intents.

        The caller holds the file's lock, and has an intent of kind PURGED on record, which says
        whose change it is. Without one nothing is done, and the answer is None: so a repeat (after
        Unavailable, which leaves open whether it was done) tells nothing twice.
        """
        async with self._database.connection() as connection:
            record = await connection.fetchrow(self._purge, file_id)
        if record is None:
            return None
        self._epoch.value = record["epoch"]
        self._bell.ring()
        return Committed(record["epoch"], record["sequence"], str(record["change_id"]))

    @asynccontextmanager
    async def _committing(
        self, file_id: str, guarded: Guarded | None
    ) -> AsyncIterator[asyncpg.Connection[Any]]:
        if guarded is None:
            async with self._database.connection() as connection:
                yield connection
            return
        async with self._database.transaction() as connection:
            await self._fences.require(connection, guarded.fence)
            await connection.fetchval(f"SELECT seq FROM {self._tables.feed_head} FOR UPDATE")
            sequence = await connection.fetchval(
                f"SELECT sequence FROM {self._tables.files} WHERE file_id = $1", file_id
            )
            if sequence != guarded.sequence:
                raise Aborted("the file's row was written meanwhile", reason="PREEMPTED")
            yield connection

    async def _tombstones(
        self,
        condition: str,
        deleted_before: datetime,
        after: FileRow | None,
        limit: int,
        *more: object,
    ) -> Sequence[FileRow]:
        records = await self._database.fetch(
            f"SELECT {columns()} FROM {self._tables.files} WHERE state = 'deleted'"
            f" AND {condition} AND updated_at < $1"
            " AND ($2::timestamptz IS NULL OR (updated_at, file_id) > ($2, $3::text))"
            " ORDER BY updated_at, file_id LIMIT $4",
            deleted_before,
            after.sidecar.updated_at if after else None,
            after.sidecar.file_id if after else "",
            limit,
            *more,
        )
        return [from_record(record) for record in records]


def _commit_statement(tables: Tables) -> str:
    parameters = ", ".join(
        f"${number}::{kind} AS {name}"
        for number, (name, kind) in enumerate(WRITTEN_COLUMNS.items(), start=1)
    )
    names = ", ".join(WRITTEN_COLUMNS)
    changes = ", ".join(
        f"{name} = excluded.{name}"
        for name in (*WRITTEN_COLUMNS, "row_hash", "sequence")
        if name != "file_id"
    )
    kind = f"${len(WRITTEN_COLUMNS) + 1}::text"
    direct = f"${len(WRITTEN_COLUMNS) + 2}::boolean"
    return f"""
    WITH new AS (SELECT {parameters}),
    intents AS (
        DELETE FROM {tables.pending} p USING new
        WHERE p.file_id = new.file_id AND ({direct} OR p.kind = 'created')
        RETURNING p.*
    ),
    written_by AS (
        SELECT i.pending_id, i.cause, i.actor, i.call_request_id, i.reason FROM intents i, new
        WHERE i.kind <> 'purged' AND (i.revision IS NULL
           OR i.revision = new.revision AND (i.digest IS NULL OR i.digest = new.digest))
        ORDER BY i.cause IS NOT DISTINCT FROM 'repair', i.revision IS NULL, i.pending_id DESC
        LIMIT 1
    ),
    {_counted_before(tables, "new")},
    head AS (
        UPDATE {tables.feed_head} h SET
            seq = h.seq + 1,
            used_bytes = least({MAX_COUNTER}, greatest(0, h.used_bytes::numeric + coalesce(
                (SELECT {bytes_of("new")} - size_bytes FROM counted), 0))),
            file_count = greatest(0, h.file_count + coalesce(
                (SELECT {homes_of("new")} - homes FROM counted), 0))
        FROM new
        RETURNING h.epoch, h.seq
    ),
    written AS (
        INSERT INTO {tables.files} ({names}, row_hash, sequence)
        SELECT new.*, {row_hash("new")}, head.seq FROM new, head
        ON CONFLICT (file_id) DO UPDATE SET {changes}
    )
    INSERT INTO {tables.feed}
        (sequence, kind, file_id, revision, cause, actor, request_id, reason)
    SELECT head.seq, {kind}, new.file_id, new.revision,
           CASE WHEN w.pending_id IS NULL THEN 'repair' ELSE w.cause END,
           w.actor, w.call_request_id, w.reason
    FROM head, new LEFT JOIN written_by w ON true
    RETURNING sequence, change_id, (SELECT epoch FROM head) AS epoch
    """


def _counted_before(tables: Tables, of: str) -> str:
    """SQL of what the counters have of a file: by its row, else by the oldest of its `intents`,
    since all that came after it is not counted yet; nothing when neither says it.
    """
    return f"""
    counted AS (
        SELECT size_bytes, homes FROM (
            SELECT 0 AS place, {bytes_of("f")} AS size_bytes, {homes_of("f")} AS homes
            FROM {tables.files} f JOIN {of} USING (file_id)
            UNION ALL
            SELECT pending_id, coalesce(counted_bytes, 0), coalesce(counted_homes, 0)
            FROM intents WHERE counted_homes IS NOT NULL OR kind = 'created'
        ) told ORDER BY place LIMIT 1
    )"""


def _purge_statement(tables: Tables) -> str:
    return f"""
    WITH intents AS (
        DELETE FROM {tables.pending} WHERE file_id = $1 AND EXISTS (
            SELECT FROM {tables.pending} WHERE file_id = $1 AND kind = 'purged'
        ) RETURNING *
    ),
    purged_by AS (
        SELECT file_id, revision, cause, actor, call_request_id, reason FROM intents
        WHERE kind = 'purged' ORDER BY pending_id DESC LIMIT 1
    ),
    {_counted_before(tables, "purged_by")},
    head AS (
        UPDATE {tables.feed_head} h SET
            seq = h.seq + 1,
            used_bytes = greatest(0, h.used_bytes - coalesce(
                (SELECT size_bytes FROM counted), 0)),
            file_count = greatest(0, h.file_count - coalesce((SELECT homes FROM counted), 0))
        FROM purged_by
        RETURNING h.epoch, h.seq
    ),
    gone AS (
        DELETE FROM {tables.files} f USING head WHERE f.file_id = $1
    )
    INSERT INTO {tables.feed}
        (sequence, kind, file_id, revision, cause, actor, request_id, reason)
    SELECT head.seq, 'purged', p.file_id, p.revision,
           p.cause, p.actor, p.call_request_id, p.reason
    FROM head, purged_by p
    RETURNING sequence, change_id, (SELECT epoch FROM head) AS epoch
    """
