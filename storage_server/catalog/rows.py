"""The row codec: a sidecar and its identity as columns of the files table, and back.

Two checksums guard a row. `digest` (Python, 16 bytes) is that of the sidecar's fields and
tells whether a sidecar says what the row says. `row_hash` (SQL, 64 bits) is taken over the
stored columns when they are written: comparing it with the columns finds a row damaged in
the database without moving it out of there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import asyncpg
import orjson

from storage_server.catalog import expiry
from storage_server.domain.fields import SIDECAR_COLUMNS, WRITTEN_WHEN_SET
from storage_server.domain.life import HAVE_BYTES
from storage_server.domain.naming import sidecar_path
from storage_server.domain.sidecar import FileState, RetentionPolicy, Sidecar, digest
from storage_server.domain.sidecar_written import WrittenSidecar
from storage_server.store.port import Identity

CACHE_COLUMNS: Mapping[str, str] = {
    "cache_updated_at": "timestamptz",
    "cache_ttl_hours": "integer",
    "sidecar_mtime_ns": "bigint",
    "sidecar_size": "bigint",
    "sidecar_inode": "bigint",
    "sidecar_etag": "text",
    "blob_present": "boolean",
    "digest": "bytea",
}
"""Columns that say when and how the sidecar was seen."""

WRITTEN_COLUMNS: Mapping[str, str] = {**SIDECAR_COLUMNS, **CACHE_COLUMNS}
"""What `to_values` fills, in its order. `row_hash` and `sequence` are computed in SQL."""

_COLUMN_NAMES = tuple(WRITTEN_COLUMNS)
_HASHED_ALWAYS = tuple(name for name in SIDECAR_COLUMNS if name not in WRITTEN_WHEN_SET)
_INT64 = 1 << 64
_NEVER_HAVE_BYTES = frozenset({FileState.GONE, FileState.ERASED})


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRow:
    """A row of the files table.

    Attributes:
        digest: of the sidecar's fields when the row was written.
        sequence: of the feed entry that wrote it.
        pending: a write on this file has not reached its row yet.
        blob_present: False once the blob of a tombstone has been removed.
    """

    sidecar: Sidecar
    identity: Identity
    digest: bytes
    sequence: int
    cache_updated_at: datetime
    cache_ttl_hours: int
    pending: bool = False
    blob_present: bool = True

    @property
    def path(self) -> str:
        """Path of the sidecar, relative to the element's root."""
        return sidecar_path(self.sidecar.storage_path, self.sidecar.storage_filename)

    def cache_expired(self, now: datetime) -> bool:
        """Whether the sidecar must be read again before the row is believed."""
        return self.pending or now >= expiry.expires_at(
            self.sidecar.file_id, self.cache_updated_at, self.cache_ttl_hours
        )


class StoredRow(FileRow):
    """A row that is put together once somebody asks for more of it than its record."""

    __slots__ = ("record",)
    record: Any

    def __new__(cls, record: Any = None, **values: Any) -> StoredRow:
        """A changed one, as `dataclasses.replace` makes it, is not stored: it is a plain row."""
        return FileRow(**values) if values else object.__new__(cls)  # type: ignore[return-value]

    def __init__(self, record: Any) -> None:
        object.__setattr__(self, "record", record)

    def __getattr__(self, name: str) -> Any:
        row = from_record(self.record)
        for field in fields(FileRow):
            object.__setattr__(self, field.name, getattr(row, field.name))
        return getattr(row, name)

    def __eq__(self, other: object) -> bool:
        return from_record(self.record) == other

    __hash__ = None  # type: ignore[assignment]


def columns(alias: str = "") -> str:
    """The written columns and `sequence`, for a SELECT that `from_record` reads."""
    dot = f"{alias}." if alias else ""
    return ", ".join(f"{dot}{name}" for name in (*_COLUMN_NAMES, "sequence"))


def row_hash(alias: str) -> str:
    """SQL of the 64-bit hash over the sidecar's columns and the digest.

    Columns that came later are part of it only where one of them has a value: a row that was
    written before they came keeps its hash.
    """
    always = ", ".join(f"{alias}.{name}" for name in (*_HASHED_ALWAYS, "digest"))
    later = [f"{alias}.{name}" for name in WRITTEN_WHEN_SET]
    unset = " AND ".join(
        f"{column} = ''" if kind == "text" else f"{column} IS NULL"
        for column, kind in zip(
            later, map(SIDECAR_COLUMNS.__getitem__, WRITTEN_WHEN_SET), strict=True
        )
    )
    return (
        f"hash_record_extended(CASE WHEN {unset} THEN ROW({always})"
        f" ELSE ROW({always}, {', '.join(later)}) END, 0)"
    )


def intact(alias: str) -> str:
    """SQL that is true for a row whose columns are as they were written."""
    return f"({alias}.row_hash IS NOT DISTINCT FROM {row_hash(alias)})"


def has_bytes(alias: str) -> str:
    """SQL that is true for a row whose file must have its blob: see `life.HAVE_BYTES`."""
    words = ", ".join(f"'{state}'" for state in sorted(HAVE_BYTES))
    return f"({alias}.state IN ({words}))"


def bytes_of(alias: str) -> str:
    """SQL of the bytes that a row's blob takes: none once it has been removed."""
    return f"(CASE WHEN {alias}.blob_present THEN {alias}.size_bytes ELSE 0 END)"


def homes_of(alias: str) -> str:
    """SQL of the files that a row counts as: one if it is a home."""
    return f"({alias}.state = 'active')::int"


def has_blob(sidecar: Sidecar | WrittenSidecar, *, blob_present: bool) -> bool:
    """What a row says of its blob, told whether one was found or is supposed to be there."""
    return blob_present and sidecar.state not in _NEVER_HAVE_BYTES


def to_values(
    sidecar: Sidecar,
    identity: Identity,
    *,
    cache_updated_at: datetime,
    cache_ttl_hours: int,
    blob_present: bool = True,
    known_digest: bytes | None = None,
) -> tuple[Any, ...]:
    """Values for WRITTEN_COLUMNS, in that order; `known_digest` is that of the sidecar."""
    attributes = orjson.dumps(sidecar.attributes).decode() if sidecar.attributes else "{}"
    return (
        sidecar.file_id,
        sidecar.schema_version,
        sidecar.revision,
        sidecar.state.value,
        sidecar.namespace,
        sidecar.original_filename,
        sidecar.storage_filename,
        sidecar.storage_path,
        sidecar.size_bytes,
        sidecar.content_type,
        sidecar.sha256,
        sidecar.crc32c,
        sidecar.created_at,
        sidecar.created_by,
        sidecar.updated_at,
        sidecar.request_id,
        sidecar.description,
        sidecar.version,
        sidecar.tags,
        attributes,
        sidecar.retention_policy.value,
        sidecar.retention_days,
        sidecar.expires_at,
        sidecar.finalized_at,
        sidecar.finalized_to,
        sidecar.legal_hold,
        sidecar.unknown,
        sidecar.home_since,
        sidecar.moved_to,
        sidecar.copies,
        sidecar.updated_by,
        sidecar.deleted_at,
        cache_updated_at,
        cache_ttl_hours,
        identity.mtime_ns,
        identity.size,
        signed(identity.inode),
        identity.etag,
        has_blob(sidecar, blob_present=blob_present),
        known_digest or digest(sidecar),
    )


def from_record(record: asyncpg.Record) -> FileRow:
    """The row in a record that has `columns()`, and perhaps `pending`."""
    return FileRow(
        sidecar=sidecar_of(record),
        identity=identity_of(record),
        digest=record["digest"],
        sequence=record["sequence"],
        cache_updated_at=record["cache_updated_at"],
        cache_ttl_hours=record["cache_ttl_hours"],
        pending=record.get("pending") or False,
        blob_present=record["blob_present"],
    )


def sidecar_of(record: asyncpg.Record) -> Sidecar:
    """The sidecar in a record that has SIDECAR_COLUMNS."""
    attributes = record["attributes"]
    return Sidecar(
        file_id=record["file_id"],
        schema_version=record["schema_version"],
        revision=record["revision"],
        state=FileState(record["state"]),
        namespace=record["namespace"],
        original_filename=record["original_filename"],
        storage_filename=record["storage_filename"],
        storage_path=record["storage_path"],
        size_bytes=record["size_bytes"],
        content_type=record["content_type"],
        sha256=record["sha256"],
        crc32c=record["crc32c"],
        created_at=record["created_at"],
        created_by=record["created_by"],
        updated_at=record["updated_at"],
        request_id=record["request_id"],
        description=record["description"],
        version=record["version"],
        tags=tuple(tag or "" for tag in record["tags"]),
        attributes={} if attributes == "{}" else _texts(orjson.loads(attributes)),
        retention_policy=RetentionPolicy(record["retention_policy"]),
        retention_days=record["retention_days"],
        expires_at=record["expires_at"],
        finalized_at=record["finalized_at"],
        finalized_to=record["finalized_to"],
        legal_hold=record["legal_hold"],
        home_since=record["home_since"],
        moved_to=record["moved_to"],
        copies=record["copies"],
        updated_by=record["updated_by"],
        deleted_at=record["deleted_at"],
        unknown=record["unknown_fields"],
    )


def identity_of(record: asyncpg.Record) -> Identity:
    """The sidecar's identity in a record that has CACHE_COLUMNS."""
    return Identity(
        size=record["sidecar_size"],
        mtime_ns=record["sidecar_mtime_ns"],
        inode=record["sidecar_inode"] % _INT64,
        etag=record["sidecar_etag"],
    )


def signed(inode: int) -> int:
    """Inodes have 64 bits without a sign, bigint has one."""
    return inode - _INT64 if inode >= _INT64 >> 1 else inode


def _texts(attributes: dict[str, Any]) -> dict[str, str]:
    # Only a row damaged in the database holds anything but texts; it must stay readable.
    return {
        name: value if type(value) is str else orjson.dumps(value).decode()
        for name, value in attributes.items()
    }
