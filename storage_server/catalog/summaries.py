"""Comparing a listing with the rows folder by folder, so that the cost follows the changes.

PostgreSQL hashes each folder's rows (names and identities of the sidecars) in one scan, and
Python hashes the folder's listing the same way. Only folders that differ, or that hold a row
damaged in the database, are looked at row by row.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg

from mesh.postgres.database import Database
from storage_server.catalog.expiry import expired_sql
from storage_server.catalog.rows import has_bytes, identity_of, intact
from storage_server.catalog.tables import Tables
from storage_server.domain.naming import SIDECAR_SUFFIX, sidecar_path
from storage_server.domain.sidecar import FileState
from storage_server.store.port import Identity, ListedSidecar

_BATCH = 2000
_KEYS = 10_000

# Must say what `fingerprint` and `key_of` say.
_LINE = (
    "f.storage_filename || E'\\t' || f.sidecar_mtime_ns || E'\\t' || f.sidecar_size || E'\\t'"
    " || CASE WHEN f.sidecar_inode >= 0 THEN f.sidecar_inode::numeric"
    " ELSE f.sidecar_inode + 18446744073709551616 END || E'\\t' || f.sidecar_etag"
)
_BLOB_SIZE = f" || E'\\t' || CASE WHEN {has_bytes('f')} THEN f.size_bytes::text ELSE '' END"
_EXPIRED = f"count(*) FILTER (WHERE {has_bytes('f')} AND {expired_sql('f', '$1')}) AS expired"


@dataclass(frozen=True, slots=True)
class FolderSummary:
    """The rows of one folder.

    Attributes:
        rows: all of them, tombstones too.
        live_rows: those that must have a blob: no tombstones, nor stubs.
        fingerprint: hex; equal to `fingerprint(...)` of a listing that has the same sidecars
            (and blobs, if that was asked for).
        damaged: rows whose columns are not as they were written.
        tombstones: names of the blobs (perhaps gone) of the others.
        newest_sequence: the highest sequence among its rows.
        expired: those of `live_rows` that have expired.
    """

    rows: int
    live_rows: int
    fingerprint: str
    damaged: int
    tombstones: frozenset[str]
    newest_sequence: int
    expired: int


@dataclass(frozen=True, slots=True)
class RowSummary:
    """What a comparison needs of a row.

    `intact` is False for a row damaged in the database; `blob_size` is in bytes.
    """

    file_id: str
    path: str
    identity: Identity
    state: FileState
    digest: bytes
    sequence: int
    intact: bool
    blob_size: int


@dataclass(frozen=True, slots=True)
class RowKeys:
    """Rows as a listing would show their sidecars.

    Attributes:
        file_ids: of the rows.
        keys: of the rows, in the same order. That of a row damaged in the database is its
            file id, which is no key of any sidecar.
        blob_sizes: in bytes, in the same order.
        tombstones: keys of those that need no blob: tombstones and stubs.
    """

    file_ids: Sequence[str]
    keys: Sequence[str]
    blob_sizes: Sequence[int]
    tombstones: Sequence[str]


def key_of(sidecar: ListedSidecar) -> str:
    """What `RowKeys.keys` has for a row that was made from this very sidecar."""
    path, identity = sidecar
    return (
        f"{path.removesuffix(SIDECAR_SUFFIX)}\t{identity.mtime_ns}\t{identity.size}"
        f"\t{identity.inode}\t{identity.etag}"
    )


def fingerprint(
    sidecars: Iterable[ListedSidecar],
    blobs: Mapping[str, int] | None = None,
    tombstones: Container[str] = (),
) -> str:
    """Hex digest of a folder's sidecars: their names and identities, in any order.

    Args:
        blobs: sizes by name, if the digest is to have those of all but the tombstones too.
        tombstones: names of their blobs.
    """
    if blobs is None:
        lines = [
            f"{name}\t{identity.mtime_ns}\t{identity.size}\t{identity.inode}"
            f"\t{identity.etag}".encode(errors="surrogateescape")
            for path, identity in sidecars
            for name in (path.rpartition("/")[2].removesuffix(SIDECAR_SUFFIX),)
        ]
    else:
        lines = [
            f"{name}\t{identity.mtime_ns}\t{identity.size}\t{identity.inode}\t{identity.etag}"
            f"\t{'' if name in tombstones else blobs.get(name, '-')}".encode(
                errors="surrogateescape"
            )
            for path, identity in sidecars
            for name in (path.rpartition("/")[2].removesuffix(SIDECAR_SUFFIX),)
        ]
    lines.sort()
    return hashlib.md5(b"\n".join(lines), usedforsecurity=False).hexdigest()


class Summaries:
    """Every call raises Unavailable when PostgreSQL does not answer in time."""

    def __init__(self, database: Database, tables: Tables) -> None:
        self._database = database
        self._tables = tables

    async def folders(
        self, only: Sequence[str] | None = None, *, blob_sizes: bool = False
    ) -> dict[str, FolderSummary]:
        """A summary of every folder that has rows (or of some of them), by its path."""
        line = f"convert_to({_LINE}{_BLOB_SIZE if blob_sizes else ''}, 'UTF8')"
        where = "" if only is None else " WHERE f.storage_path = ANY($2::text[])"
        records = await self._database.fetch(
            f"SELECT f.storage_path, count(*) AS rows,"
            f" count(*) FILTER (WHERE {has_bytes('f')}) AS live_rows,"
            f" md5(string_agg({line}, '\\x0a'::bytea ORDER BY {line})) AS fingerprint,"
            f" count(*) FILTER (WHERE NOT {intact('f')}) AS damaged,"
            f" array_agg(f.storage_filename) FILTER (WHERE NOT {has_bytes('f')}) AS tombstones,"
            f" max(f.sequence) AS newest_sequence, {_EXPIRED}"
            f" FROM {self._tables.files} f{where} GROUP BY f.storage_path",
            datetime.now(UTC),
            *(() if only is None else (list(only),)),
            patient=True,
            replan=True,
        )
        return {
            record["storage_path"]: FolderSummary(
                record["rows"],
                record["live_rows"],
                record["fingerprint"],
                record["damaged"],
                frozenset(record["tombstones"] or ()),
                record["newest_sequence"],
                record["expired"],
            )
            for record in records
        }

    async def counts(self) -> dict[str, FolderSummary]:
        """Rows and newest sequence of every folder, cheaply: nothing is hashed.

        `fingerprint` and `tombstones` are empty, `damaged` is 0.
        """
        records = await self._database.fetch(
            "SELECT f.storage_path, count(*) AS rows,"
            f" count(*) FILTER (WHERE {has_bytes('f')}) AS live_rows,"
            f" max(f.sequence) AS newest_sequence, {_EXPIRED}"
            f" FROM {self._tables.files} f GROUP BY f.storage_path",
            datetime.now(UTC),
            patient=True,
        )
        return {
            record["storage_path"]: FolderSummary(
                record["rows"],
                record["live_rows"],
                "",
                0,
                frozenset(),
                record["newest_sequence"],
                record["expired"],
            )
            for record in records
        }

    async def keys_in(self, folders: Sequence[str]) -> Sequence[RowKeys]:
        """Keys and ids of all rows of some folders, in pieces: see `RowKeys`.

        It is one scan: paging by an order would sort a full folder for every page.
        """
        records = await self._database.fetch(
            "SELECT array_agg(f.file_id) AS file_ids, array_agg(f.key) AS keys,"
            " array_agg(f.size_bytes) AS blob_sizes,"
            f" array_agg(f.key) FILTER (WHERE NOT {has_bytes('f')}) AS tombstones"
            " FROM (SELECT f.file_id, f.state, f.size_bytes,"
            f" (row_number() OVER () - 1) / {_KEYS} AS piece,"
            f" CASE WHEN {intact('f')} THEN f.storage_path || '/' || {_LINE}"
            " ELSE f.file_id END AS key"
            f" FROM {self._tables.files} f WHERE f.storage_path = ANY($1::text[])) f"
            " GROUP BY f.piece",
            list(folders),
            patient=True,
            replan=True,
        )
        return [
            RowKeys(
                record["file_ids"],
                record["keys"],
                record["blob_sizes"],
                record["tombstones"] or (),
            )
            for record in records
        ]

    async def rows_by_id(self, file_ids: Sequence[str]) -> dict[str, RowSummary]:
        """Rows by id, wherever their folder is; ids without a row are left out."""
        records = await self._database.fetch(
            f"{self._select()} WHERE f.file_id = ANY($1::text[])",
            list(file_ids),
            replan=True,
            patient=True,
        )
        return {record["file_id"]: _row_summary(record) for record in records}

    async def expired_rows(self, after: str, *, now: datetime, limit: int) -> Sequence[RowSummary]:
        """Expired rows with an id above `after`, by id; no tombstones, none with an intent."""
        records = await self._database.fetch(
            f"{self._select()} WHERE f.file_id > $1 AND {has_bytes('f')}"
            f" AND {expired_sql('f', '$2')} AND NOT EXISTS"
            f" (SELECT FROM {self._tables.pending} p WHERE p.file_id = f.file_id)"
            " ORDER BY f.file_id LIMIT $3",
            after,
            now,
            limit,
            patient=True,
        )
        return [_row_summary(record) for record in records]

    async def identities(self) -> AsyncIterator[Sequence[RowSummary]]:
        """All rows by file id in batches, for a merge with a sorted listing."""
        after = ""
        while True:
            records = await self._database.fetch(
                f"{self._select()} WHERE f.file_id > $1 ORDER BY f.file_id LIMIT {_BATCH}", after
            )
            if not records:
                return
            yield [_row_summary(record) for record in records]
            after = records[-1]["file_id"]

    def _select(self) -> str:
        return (
            "SELECT f.file_id, f.storage_path, f.storage_filename, f.sidecar_mtime_ns,"
            " f.sidecar_size, f.sidecar_inode, f.sidecar_etag, f.state, f.digest, f.sequence,"
            " f.size_bytes,"
            f" {intact('f')} AS intact FROM {self._tables.files} f"
        )


def _row_summary(record: asyncpg.Record) -> RowSummary:
    return RowSummary(
        record["file_id"],
        sidecar_path(record["storage_path"], record["storage_filename"]),
        identity_of(record),
        FileState(record["state"]),
        record["digest"],
        record["sequence"],
        record["intact"],
        record["size_bytes"],
    )
