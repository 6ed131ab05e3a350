"""Reading rows: one, many, a page, and counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mesh.paging import AskedPage
from mesh.postgres.database import Database
from storage_server.catalog.expiry import expired_sql
from storage_server.catalog.rows import FileRow, columns, from_record, has_bytes
from storage_server.catalog.tables import Tables

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of files. `next_page_token` is empty on the last one."""

    rows: Sequence[FileRow]
    next_page_token: str
    total_size: int


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows that are no tombstones, and how many of them have expired."""

    rows: int
    expired: int


class Reads:
    """Every call raises Unavailable when PostgreSQL does not answer in time."""

    def __init__(self, database: Database, tables: Tables) -> None:
        self._database = database
        self._tables = tables
        self._select = (
            f"SELECT {columns('f')}, EXISTS (SELECT FROM {tables.pending} p"
            f" WHERE p.file_id = f.file_id) AS pending FROM {tables.files} f"
        )

    async def get(self, file_id: str) -> FileRow | None:
        """The row of a file in any state, with `pending` set if a write is under way."""
        record = await self._database.fetchrow(f"{self._select} WHERE f.file_id = $1", file_id)
        return None if record is None else from_record(record)

    async def is_complete(self) -> bool:
        """Whether each file has its row; not in new tables, nor when rows were cleaned."""
        return bool(await self._database.fetchval(f"SELECT complete FROM {self._tables.feed_head}"))

    async def newest(self, before: datetime) -> tuple[datetime | None, int]:
        """When the newest active file dated up to `before` was made, None when there is none; and
        how many are dated later, counted up to 1,000."""
        active = f"FROM {self._tables.files} WHERE state = 'active' AND created_at"
        record = await self._database.fetchrow(
            f"SELECT (SELECT max(created_at) {active} <= $1) AS newest,"
            f" (SELECT count(*) FROM (SELECT {active} > $1 LIMIT 1000) later) AS later",
            before,
        )
        return (None, 0) if record is None else (record["newest"], record["later"])

    async def dated_after(self, moment: datetime, *, limit: int) -> list[str]:
        """Ids of active files dated later than `moment`, the earliest first."""
        records = await self._database.fetch(
            f"SELECT file_id FROM {self._tables.files} WHERE state = 'active' AND created_at > $1"
            f" ORDER BY created_at, file_id LIMIT {limit}",
            moment,
        )
        return [record["file_id"] for record in records]

    async def get_many(self, file_ids: Sequence[str]) -> dict[str, FileRow]:
        """Rows by id; ids without a row are left out."""
        records = await self._database.fetch(
            f"{self._select} WHERE f.file_id = ANY($1::text[])", list(file_ids)
        )
        return {record["file_id"]: from_record(record) for record in records}

    async def list_files(
        self,
        *,
        namespaces: Sequence[str] | None = None,
        page_size: int = 0,
        page_token: str = "",
        show_deleted: bool = False,
        only_trash: bool = False,
        unexpired_at: datetime | None = None,
    ) -> Page:
        """Active files by (created_at, file_id); pages stay right while files come and go.

        Args:
            namespaces: only these; None means all.
            page_size: 0 means 100; more than 1,000 is lowered.
            page_token: of the page before.
            show_deleted: tombstones as well.
            only_trash: tombstones alone, those whose bytes are there.
            unexpired_at: active files that have expired by then are left out; None leaves none.

        Raises:
            InvalidArgument: a negative page_size, or a page_token that is none of this list.
        """
        allowed = None if namespaces is None else list(namespaces)
        made_for = ("files", allowed, show_deleted, only_trash)
        asked = AskedPage.read(page_size, page_token, made_for, datetime, str)
        after_time, after_id = asked.after or (_EPOCH, "")
        at = unexpired_at or _EPOCH
        states = "f.state IN ('active', 'deleted')" if show_deleted else "f.state = 'active'"
        if only_trash:
            states = "f.state = 'deleted' AND f.blob_present"
        listed = f"{states} AND ($1::text[] IS NULL OR f.namespace = ANY($1::text[]))"
        records = await self._database.fetch(
            f"{self._select} WHERE {listed} AND NOT {_ended('f', '$5')}"
            " AND (f.created_at, f.file_id) > ($2::timestamptz, $3::text)"
            " ORDER BY f.created_at, f.file_id LIMIT $4",
            allowed,
            after_time,
            after_id,
            asked.size + 1,
            at,
        )
        # Of the expired ones there are few, and an index has them: the others need not be read.
        total = await self._database.fetchval(
            f"SELECT (SELECT count(*) FROM {self._tables.files} f WHERE {listed})"
            f" - (SELECT count(*) FROM {self._tables.files} f"
            f" WHERE {listed} AND {_ended('f', '$2')})",
            allowed,
            at,
        )
        page, token = asked.page(records, lambda record: (record["created_at"], record["file_id"]))
        return Page([from_record(record) for record in page], token, total)

    async def find_by_request(
        self, created_by: str, request_id: str, *, since: datetime
    ) -> FileRow | None:
        """The first file, in any state, that this account uploaded with this request id."""
        record = await self._database.fetchrow(
            f"{self._select} WHERE f.created_by = $1 AND f.request_id = $2"
            " AND f.request_id <> '' AND f.created_at >= $3"
            " ORDER BY f.created_at, f.file_id LIMIT 1",
            created_by,
            request_id,
            since,
        )
        return None if record is None else from_record(record)

    async def counts(self, now: datetime) -> Counts:
        """Rows and expired rows, tombstones left out."""
        record = await self._database.fetchrow(
            f"SELECT count(*) AS rows, count(*) FILTER (WHERE {expired_sql('f', '$1')})"
            f" AS expired FROM {self._tables.files} f WHERE {has_bytes('f')}",
            now,
        )
        return Counts(record["rows"], record["expired"]) if record else Counts(0, 0)

    async def expired_ids(self, now: datetime, *, limit: int = 10) -> Sequence[str]:
        """Ids of some expired rows, tombstones left out."""
        records = await self._database.fetch(
            f"SELECT f.file_id FROM {self._tables.files} f WHERE {has_bytes('f')}"
            f" AND {expired_sql('f', '$1')} ORDER BY f.file_id LIMIT $2",
            now,
            limit,
        )
        return [record["file_id"] for record in records]


def _ended(alias: str, now: str) -> str:
    """SQL: a home whose retention has ended, as `domain.retention.is_expired`; never NULL.

    Migration 0005 has an index of such.
    """
    return (
        f"({alias}.state = 'active' AND {alias}.expires_at IS NOT NULL"
        f" AND NOT {alias}.legal_hold AND {alias}.expires_at <= {now}::timestamptz)"
    )
