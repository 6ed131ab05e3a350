"""Rows in the binary form of COPY, one after the other as PostgreSQL reads them.

Encoded here instead of by asyncpg they cost a third, may be made anywhere (in a thread, in another
process) and are sent as they are. A test holds them to what PostgreSQL makes of asyncpg's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Any

import orjson
from msgspec import UNSET

from storage_server.catalog.rows import WRITTEN_COLUMNS, has_blob, signed
from storage_server.domain.sidecar_written import Written
from storage_server.store.port import Identity

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TEXT_OID = 25
_JSONB_VERSION = b"\1"

_int32, _int64 = Struct("!i").pack, Struct("!q").pack
_sized_int32, _sized_int64 = Struct("!ii").pack, Struct("!iq").pack
_COUNT = Struct("!h").pack(len(WRITTEN_COLUMNS))
_NULL = _int32(-1)
_EMPTY = _int32(0)
_FALSE, _TRUE = _int32(1) + b"\0", _int32(1) + b"\1"
_NO_TEXTS = _sized_int32(12, 0) + _sized_int32(0, _TEXT_OID)
_NO_ATTRIBUTES = _int32(3) + _JSONB_VERSION + b"{}"
_LENGTHS = [_int32(length) for length in range(4097)]
# cache_updated_at, cache_ttl_hours, mtime_ns, size and inode of the sidecar.
_SEEN = Struct("!iqiiiqiqiq").pack


def encoded(values: Sequence[Any]) -> bytes:
    """What `to_values` made, as a row for COPY."""
    return _COUNT + b"".join(
        [
            _NULL if value is None else encode(value)
            for encode, value in zip(_ENCODERS, values, strict=True)
        ]
    )


def encoded_written(
    written: Written,
    identity: Identity,
    *,
    cache_updated_at: int,
    cache_ttl_hours: int,
    blob_present: bool,
) -> bytes:
    """`encoded(to_values(...))` of the same sidecar.

    Args:
        cache_updated_at: what `microseconds` makes of the time.
    """
    fields, text, lengths = written.fields, str.encode, _LENGTHS
    file_id, state = text(fields.file_id), text(fields.state.value)
    namespace, original = text(fields.namespace), text(fields.original_filename)
    filename, path = text(fields.storage_filename), text(fields.storage_path)
    content_type, sha256 = text(fields.content_type), text(fields.sha256)
    created_by, request_id = text(fields.created_by), text(fields.request_id)
    description, version = text(fields.description), text(fields.version)
    policy, finalized_to = text(fields.retention_policy.value), text(fields.finalized_to)
    tags, attributes = fields.tags, fields.attributes
    return b"".join(
        (
            _COUNT,
            lengths[len(file_id)], file_id,
            _sized_int32(4, fields.schema_version),
            _sized_int64(8, fields.revision),
            lengths[len(state)], state,
            lengths[len(namespace)], namespace,
            lengths[len(original)], original,
            lengths[len(filename)], filename,
            lengths[len(path)], path,
            _sized_int64(8, fields.size_bytes),
            lengths[len(content_type)], content_type,
            lengths[len(sha256)], sha256,
            _bigint(fields.crc32c),
            _time(written.created_at),
            lengths[len(created_by)], created_by,
            _time(written.updated_at),
            lengths[len(request_id)], request_id,
            lengths[len(description)], description,
            lengths[len(version)], version,
            _texts(tags) if tags else _NO_TEXTS,
            _jsonb(orjson.dumps(attributes)) if attributes else _NO_ATTRIBUTES,
            lengths[len(policy)], policy,
            _integer(fields.retention_days),
            _time_or_null(written.expires_at),
            _time_or_null(written.finalized_at),
            lengths[len(finalized_to)], finalized_to,
            _TRUE if fields.legal_hold else _FALSE,
            _EMPTY,
            _bigint(fields.home_since),
            _text(fields.moved_to or ""),
            _integer(fields.copies),
            _text(fields.updated_by or ""),
            _time_or_null(written.deleted_at),
            _SEEN(
                8, cache_updated_at, 4, cache_ttl_hours, 8, identity.mtime_ns,
                8, identity.size, 8, signed(identity.inode),
            ),
            _text(identity.etag),
            _TRUE if has_blob(fields, blob_present=blob_present) else _FALSE,
            lengths[16], written.digest,
        )
    )  # fmt: skip


def microseconds(at: datetime) -> int:
    """A time as PostgreSQL counts it."""
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _bigint(value: Any) -> bytes:
    return _NULL if value is None or value is UNSET else _sized_int64(8, value)


def _integer(value: Any) -> bytes:
    return _NULL if value is None or value is UNSET else _sized_int32(4, value)


def _time(at: datetime) -> bytes:
    return _sized_int64(8, microseconds(at))


def _time_or_null(at: datetime | None) -> bytes:
    return _NULL if at is None else _time(at)


def _text(value: str) -> bytes:
    return _bytes(value.encode())


def _bytes(value: bytes) -> bytes:
    return _int32(len(value)) + value


def _flag(value: bool) -> bytes:
    return _TRUE if value else _FALSE


def _texts(values: Sequence[str]) -> bytes:
    if not values:
        return _NO_TEXTS
    # One dimension, no nulls, of texts; so many, counted from 1.
    parts = [_sized_int32(1, 0), _sized_int32(_TEXT_OID, len(values)), _int32(1)]
    parts += [_text(value) for value in values]
    return _bytes(b"".join(parts))


def _jsonb(value: bytes) -> bytes:
    return _bytes(_JSONB_VERSION + value)


_BY_TYPE: dict[str, Callable[[Any], bytes]] = {
    "text": _text,
    "integer": _integer,
    "bigint": _bigint,
    "timestamptz": _time,
    "boolean": _flag,
    "text[]": _texts,
    "jsonb": lambda value: _jsonb(value.encode()),
    "bytea": _bytes,
}
_ENCODERS = [_BY_TYPE[kind] for kind in WRITTEN_COLUMNS.values()]


def piece(rows: Iterable[bytes], *, first: bool, last: bool) -> bytes:
    """Rows as a part of a COPY, or as all of it."""
    return b"".join((_HEADER if first else b"", *rows, _TRAILER if last else b""))
