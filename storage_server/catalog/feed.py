"""The change feed: entries in commit order without gaps, content joined from the rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from mesh.elements.feed_cursor import FeedCursor
from mesh.postgres.database import Database
from storage_server.catalog.epoch import Epoch
from storage_server.catalog.pending import origin_of
from storage_server.catalog.rows import FileRow, StoredRow, columns
from storage_server.catalog.tables import Tables
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.origin import Origin

SNAPSHOT_BATCH = 2000
TRIM_BATCH = 10_000


@dataclass(frozen=True, slots=True)
class Head:
    """The feed's head and the counters beside it.

    Attributes:
        complete: False when rows were cleaned or the tables are new: a repair must find the
            files without a row before a snapshot is served.
    """

    epoch: str
    sequence: int
    used_bytes: int
    file_count: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Change:
    """A feed entry.

    Attributes:
        row: the file as it is now; None when it has no row.
        revision: that the change made; None when a row was dropped, and in an entry of an earlier
            version, which also has no origin.
        origin: whose change it was.
    """

    sequence: int
    change_id: str
    kind: ChangeKind
    file_id: str
    changed_at: datetime
    row: FileRow | None
    revision: int | None = None
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Tail:
    """Entries after a place, with the epoch and head of the very moment they were read."""

    epoch: str
    head: int
    changes: Sequence[Change]


@dataclass(frozen=True, slots=True)
class Place:
    """What is kept around a sequence, all of one moment.

    Attributes:
        head: last sequence of the feed.
        oldest: the first one that is kept; None when none is.
        change_id: of the entry with that sequence; empty when it is not kept or never was.
        following: the first one after that sequence; None when there is none.
    """

    epoch: str
    head: int
    oldest: int | None
    change_id: str
    following: int | None


class Feed:
    """Every call raises Unavailable when PostgreSQL does not answer in time, TablesMissing when
    tables or the head's row are gone.
    """

    def __init__(self, database: Database, tables: Tables, epoch: Epoch) -> None:
        self._database = database
        self._tables = tables
        self._epoch = epoch

    @property
    def epoch(self) -> str:
        """As seen last by this process; empty until the tables were seen."""
        return self._epoch.value

    async def head(self) -> Head:
        """Epoch, last sequence and counters, read in one statement."""
        record = await self._database.fetchrow(
            f"SELECT epoch, seq, used_bytes, file_count, complete FROM {self._tables.feed_head}"
        )
        if record is None:
            raise self._tables.head_lost()
        self._epoch.value = record["epoch"]
        return Head(
            record["epoch"],
            record["seq"],
            record["used_bytes"],
            record["file_count"],
            record["complete"],
        )

    async def takes_writes(self) -> bool:
        """Whether the database can be written to, as far as that shows without writing: a
        read-only one says so, and one whose disk is full has lately refused a statement.
        """
        read_only: str = await self._database.fetchval(
            "SELECT current_setting('transaction_read_only')"
        )
        return read_only == "off" and not self._database.was_full

    async def read(self, after: int, *, limit: int = 1000) -> Sequence[Change]:
        """Entries with a sequence above `after`, in order."""
        return (await self.tail(after, limit=limit)).changes

    async def tail(self, after: int, *, limit: int = 1000) -> Tail:
        """Entries above `after` in order, epoch and head; all of one moment.

        Tables made anew between two statements would otherwise pass for a later piece of the
        history that they replace.
        """
        return await self._tail(
            after,
            limit,
            selected=columns("f"),
            joined=f" LEFT JOIN {self._tables.files} f USING (file_id)",
        )

    async def history(self, after: int, *, limit: int = 1000) -> Tail:
        """As `tail`, without the files: every `row` is None."""
        return await self._tail(after, limit, selected="NULL AS revision")

    async def _tail(self, after: int, limit: int, *, selected: str, joined: str = "") -> Tail:
        try:
            records = await self._database.fetch(
                "SELECT h.epoch, h.seq AS head, e.sequence AS entry, e.change_id, e.kind,"
                " e.file_id AS subject, e.created_at AS changed_at,"
                " e.revision AS change_revision, e.cause, e.actor,"
                f" e.request_id AS call_request_id, e.reason, {selected}"
                f" FROM {self._tables.feed_head} h LEFT JOIN LATERAL"
                f" (SELECT * FROM {self._tables.feed} WHERE sequence > $1"
                f"   ORDER BY sequence LIMIT $2) e ON true{joined} ORDER BY e.sequence",
                after,
                limit,
            )
        except asyncpg.UndefinedColumnError as exc:
            raise self._tables.of_earlier_version() from exc
        if not records:
            raise self._tables.head_lost()
        changes = [_change(record) for record in records if record["entry"] is not None]
        return Tail(records[0]["epoch"], records[0]["head"], changes)

    async def place(self, sequence: int) -> Place:
        """What is kept, and the entry with that sequence."""
        record = await self._database.fetchrow(
            f"SELECT epoch, seq, (SELECT min(sequence) FROM {self._tables.feed}) AS oldest,"
            f" (SELECT change_id FROM {self._tables.feed} WHERE sequence = $1) AS change_id,"
            f" (SELECT min(sequence) FROM {self._tables.feed} WHERE sequence > $1) AS following"
            f" FROM {self._tables.feed_head}",
            sequence,
        )
        if record is None:
            raise self._tables.head_lost()
        return Place(
            record["epoch"],
            record["seq"],
            record["oldest"],
            str(record["change_id"] or ""),
            record["following"],
        )

    async def oldest(self) -> int | None:
        """Sequence of the oldest entry that is kept, None when there is none."""
        oldest: int | None = await self._database.fetchval(
            f"SELECT min(sequence) FROM {self._tables.feed}"
        )
        return oldest

    async def change_id_at(self, sequence: int) -> str | None:
        """The random id of an entry, None when it is not kept or never was."""
        change_id = await self._database.fetchval(
            f"SELECT change_id FROM {self._tables.feed} WHERE sequence = $1", sequence
        )
        return None if change_id is None else str(change_id)

    async def trim(self, keep: int, *, audited: FeedCursor, wait: timedelta) -> int:
        """Drop all but the last `keep` entries, piece by piece; how many went.

        Args:
            audited: the audit has all up to there, if that is a place of this history. That
                entry and later ones stay, but for those that are older than `wait`: it goes on
                from there, and the entry tells that the history is the same.
        """
        dropped = 0
        while True:
            tag = await self._database.execute(
                f"""
                DELETE FROM {self._tables.feed} WHERE sequence <= (
                    SELECT least(
                        h.seq - $1,
                        (SELECT min(sequence) FROM {self._tables.feed}) + {TRIM_BATCH - 1},
                        greatest(
                            CASE WHEN h.epoch = $2 AND EXISTS (
                                SELECT FROM {self._tables.feed}
                                WHERE sequence = $3 AND change_id::text = $4
                            ) THEN $3::bigint ELSE 0 END,
                            coalesce(
                                (SELECT sequence FROM {self._tables.feed}
                                 WHERE created_at >= now() - $5::interval
                                 ORDER BY sequence LIMIT 1),
                                h.seq + 1
                            )
                        ) - 1
                    ) FROM {self._tables.feed_head} h
                )
                """,
                keep,
                audited.epoch,
                audited.sequence,
                audited.change_id,
                wait,
            )
            gone = int(tag.rpartition(" ")[2])
            dropped += gone
            if gone < TRIM_BATCH:
                return dropped

    async def rows_in_batches(
        self, *, batch_size: int = SNAPSHOT_BATCH
    ) -> AsyncIterator[Sequence[FileRow]]:
        """All rows, tombstones too, by file id: the body of a snapshot.

        The caller notes `head()` first. Each batch is a query of its own, so that a slow
        follower holds no transaction: a row is as it was at the head or newer, and what
        changed meanwhile comes again with the feed after that head.
        """
        after = ""
        while True:
            records = await self._database.fetch(
                f"SELECT {columns()} FROM {self._tables.files} WHERE file_id > $1"
                " ORDER BY file_id LIMIT $2",
                after,
                batch_size,
            )
            if not records:
                return
            yield [StoredRow(record) for record in records]
            after = records[-1]["file_id"]

    async def total_rows(self, namespaces: Sequence[str] | None = None) -> int:
        """All rows, tombstones too; only those of `namespaces` unless that is None."""
        return int(
            await self._database.fetchval(
                f"SELECT count(*) FROM {self._tables.files}"
                " WHERE $1::text[] IS NULL OR namespace = ANY($1)",
                namespaces,
            )
        )

    async def rows_lost(self) -> bool:
        """Whether files may lack a row: cleaned, dropped by an operator, or tables just made."""
        return bool(
            await self._database.fetchval(
                "SELECT NOT complete OR file_count >"
                f" (SELECT count(*) FROM {self._tables.files} WHERE state = 'active')"
                f" FROM {self._tables.feed_head}"
            )
        )


def _change(record: asyncpg.Record) -> Change:
    return Change(
        record["entry"],
        str(record["change_id"]),
        ChangeKind(record["kind"]),
        record["subject"],
        record["changed_at"],
        None if record["revision"] is None else StoredRow(record),
        record["change_revision"],
        origin_of(record),
    )
