"""The quick reading of sidecars that are byte for byte as `sidecar.encode` writes them.

Nearly all are. Decoded into typed fields and encoded again, they are the very bytes that were
read: this one comparison proves order, names, escapes and numbers, and that nothing is twice
there, unknown or in another form. Whatever differs in any way, or is wrong, is None here and goes
to the one codec, which says what it is: `domain/sidecar.py`. A property test holds both to the same
answers on any bytes.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from typing import Annotated, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from storage_server.domain import file_id as ids
from storage_server.domain.sidecar import (
    LEAVE_OUT_NULLS,
    MAX_SIDECAR_BYTES,
    SCHEMA_VERSION,
    FileState,
    RetentionPolicy,
)
from storage_server.domain.sidecar_members import MAX_INT32, MAX_INT64, YEARS

_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_INT64)]
_Crc = Annotated[int, msgspec.Meta(ge=0, le=0xFFFFFFFF)]
_Days = Annotated[int, msgspec.Meta(ge=0, le=MAX_INT32)]
_Some = Annotated[int, msgspec.Meta(ge=1, le=MAX_INT32)]
_Text = Annotated[str, msgspec.Meta(min_length=1)]

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_HEX = "0123456789abcdef"


class WrittenSidecar(msgspec.Struct, kw_only=True, gc=False):
    """The fields of a sidecar in the order in which they are written, times as their text.

    What may be null is None where it is, and UNSET where it is left out.
    """

    schema_version: int
    file_id: str
    revision: Annotated[int, msgspec.Meta(ge=1, le=MAX_INT64)]
    state: FileState
    namespace: str
    original_filename: str
    storage_filename: str
    storage_path: str
    size_bytes: _Count
    content_type: str
    sha256: str
    crc32c: _Crc | UnsetType | None = UNSET
    created_at: str
    created_by: str
    updated_at: str
    request_id: str
    description: str
    version: str
    tags: list[str]
    attributes: dict[str, str]
    retention_policy: RetentionPolicy
    retention_days: _Days | UnsetType | None = UNSET
    expires_at: str | UnsetType | None = UNSET
    finalized_at: str | UnsetType | None = UNSET
    finalized_to: str
    legal_hold: bool
    home_since: _Count | UnsetType = UNSET
    moved_to: _Text | UnsetType = UNSET
    copies: _Some | UnsetType = UNSET
    updated_by: _Text | UnsetType = UNSET
    deleted_at: str | UnsetType = UNSET


_decode = msgspec.json.Decoder(WrittenSidecar).decode
_encode = msgspec.json.Encoder().encode


class Written(NamedTuple):
    """A sidecar that is as `encode` writes it: its fields, their times, and `sidecar.digest`."""

    fields: WrittenSidecar
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    finalized_at: datetime | None
    deleted_at: datetime | None
    digest: bytes


def read_written(data: bytes) -> Written | None:
    """What a sidecar says; None if its bytes are not certainly what `encode` makes of them."""
    if len(data) > MAX_SIDECAR_BYTES:
        return None
    try:
        fields = _decode(data)
        if _encode(fields) != data or b"\\u0000" in data:
            return None
        if not (_nulls_are_as_written(fields) and _is_valid(fields)):
            return None
        created_at = _time(fields.created_at)
        return Written(
            fields,
            created_at,
            created_at if fields.updated_at == fields.created_at else _time(fields.updated_at),
            _time_or_none(fields.expires_at),
            _time_or_none(fields.finalized_at),
            _time_or_none(fields.deleted_at),
            hashlib.blake2b(data, digest_size=16).digest(),
        )
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def _time(text: str) -> datetime:
    """Raises ValueError unless it is as `encode` writes it."""
    if _TIME.fullmatch(text) is None:
        raise ValueError(text)
    at = datetime.fromisoformat(text)
    if at.year not in YEARS:
        raise ValueError(text)
    return at


def _time_or_none(text: str | UnsetType | None) -> datetime | None:
    return _time(text) if text else None


def _nulls_are_as_written(fields: WrittenSidecar) -> bool:
    wrong = None if fields.state in LEAVE_OUT_NULLS else UNSET
    return (
        fields.crc32c is not wrong
        and fields.retention_days is not wrong
        and fields.expires_at is not wrong
        and fields.finalized_at is not wrong
    )


def _is_valid(fields: WrittenSidecar) -> bool:
    """What the types do not say, times aside."""
    sha256, name, attributes = fields.sha256, fields.storage_filename, fields.attributes
    return (
        fields.schema_version == SCHEMA_VERSION
        and ids.is_canonical(fields.file_id)
        and (len(sha256) == 64 or (not sha256 and fields.state is FileState.ERASED))
        and not sha256.strip(_HEX)
        and name not in ("", ".", "..")
        and "/" not in name
        and fields.storage_path[:1] != "/"
        and ".." not in fields.storage_path
        and (len(attributes) < 2 or [*attributes] == sorted(attributes))
    )
