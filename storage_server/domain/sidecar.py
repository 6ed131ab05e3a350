"""The one codec of sidecars (`*.attr.json`). How they change: `domain/sidecar_changes.py`.

The sidecar is the truth about a file: whatever a table says is a copy of it. It is one JSON
object, schema_version 1, at most 4,096 bytes, of which what the user supplies is at most
3,072, so that the system's own changes always fit. Fields of later versions or other tools
are kept byte for byte in `Sidecar.unknown`.
"""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import orjson

from mesh.errors import FailedPrecondition
from storage_server.domain import sidecar_members as read
from storage_server.domain.fields import (
    ALWAYS_WRITTEN,
    NAMES,
    TIMES,
    WRITTEN_AS_NULL,
    WRITTEN_WHEN_SET,
)
from storage_server.domain.sidecar_scan import InvalidSidecar, unknown_members

__all__ = [
    "MAX_CREATED_BY_BYTES",
    "MAX_SIDECAR_BYTES",
    "SCHEMA_VERSION",
    "FileState",
    "InvalidSidecar",
    "RetentionPolicy",
    "Sidecar",
    "decode",
    "decode_with_digest",
    "digest",
    "encode",
]

SCHEMA_VERSION = 1
MAX_SIDECAR_BYTES = 4096
MAX_CREATED_BY_BYTES = 64
"""Of files that are made or changed from now on: accounts have no longer names."""


class FileState(StrEnum):
    """Where a copy of a file is in its life; a file has one home, `active` or `deleted`.

    `deleted` is the home's tombstone. `moved` was the home, and still serves bytes. `copy` serves
    bytes, `incoming` has them and is not shown yet. `gone` is a stub without bytes, `erased` what
    stays of a file that was erased for ever. Only `active` is changed by users.
    """

    ACTIVE = "active"
    DELETED = "deleted"
    MOVED = "moved"
    COPY = "copy"
    INCOMING = "incoming"
    GONE = "gone"
    ERASED = "erased"


LEAVE_OUT_NULLS = frozenset({FileState.COPY, FileState.INCOMING, FileState.GONE, FileState.ERASED})
"""States that came later: their sidecars have no field that is null, so that the longest fits."""


class RetentionPolicy(StrEnum):
    """Temporary files expire after `retention_days`, permanent ones never."""

    TEMPORARY = "temporary"
    PERMANENT = "permanent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """All fields of a sidecar. Times are aware UTC datetimes with microseconds.

    Attributes:
        revision: 1 at the upload, one more at each change.
        storage_path: the blob's folder `YYYY/MM/DD/HH`.
        storage_filename: the blob's name in it.
        sha256: of the blob, lower-case hex; empty of an erased file only.
        crc32c: of the blob, as an unsigned 32-bit number; None when unknown.
        created_at: the time in the file id.
        retention_days, expires_at: None for permanent files.
        finalized_at, finalized_to: when and to which element the file was moved.
        legal_hold: a held file neither expires nor goes.
        home_since: since when this copy is the home, in ms since 1970; None means since the time
            in the file id.
        moved_to: the element that has the file instead, of `moved` and `gone`; empty means
            `finalized_to`.
        copies: how many are wanted, 1 to 5; None means as the namespace's policy says.
        updated_by: the account that made the last change; empty when that is not known.
        deleted_at: when the file was deleted; of a tombstone, None means `updated_at`.
        unknown: raw JSON text of the members this version does not know, joined by commas.
    """

    file_id: str
    revision: int = 1
    state: FileState = FileState.ACTIVE
    namespace: str = "default"
    original_filename: str
    storage_filename: str
    storage_path: str
    size_bytes: int
    content_type: str = "application/octet-stream"
    sha256: str
    crc32c: int | None = None
    created_at: datetime
    created_by: str
    updated_at: datetime
    request_id: str = ""
    description: str = ""
    version: str = ""
    tags: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    retention_policy: RetentionPolicy = RetentionPolicy.TEMPORARY
    retention_days: int | None = None
    expires_at: datetime | None = None
    finalized_at: datetime | None = None
    finalized_to: str = ""
    legal_hold: bool = False
    home_since: int | None = None
    moved_to: str = ""
    copies: int | None = None
    updated_by: str = ""
    deleted_at: datetime | None = None
    schema_version: int = SCHEMA_VERSION
    unknown: str = ""


# --- writing -----------------------------------------------------------------------------


def encode(sidecar: Sidecar) -> bytes:
    """The bytes of a sidecar: compact JSON, fields in a fixed order, attributes sorted.

    Raises:
        FailedPrecondition: more than 4,096 bytes, which only unknown fields can cause once
            `check_user_part` has passed.
    """
    encoded = _canonical(sidecar)
    if len(encoded) > MAX_SIDECAR_BYTES:
        raise FailedPrecondition(
            f"the sidecar of {sidecar.file_id} would be {len(encoded)} bytes long, "
            f"more than {MAX_SIDECAR_BYTES}",
            reason="SIDECAR_TOO_LARGE",
        )
    return encoded


def digest(sidecar: Sidecar) -> bytes:
    """16 bytes that differ whenever any field does, the same from a sidecar and from its row."""
    return _digest_of(_canonical(sidecar))


def _digest_of(canonical: bytes) -> bytes:
    return hashlib.blake2b(canonical, digest_size=16).digest()


def _canonical(sidecar: Sidecar) -> bytes:
    attributes = sidecar.attributes
    members = {
        "schema_version": sidecar.schema_version,
        "file_id": sidecar.file_id,
        "revision": sidecar.revision,
        "state": sidecar.state.value,
        "namespace": sidecar.namespace,
        "original_filename": sidecar.original_filename,
        "storage_filename": sidecar.storage_filename,
        "storage_path": sidecar.storage_path,
        "size_bytes": sidecar.size_bytes,
        "content_type": sidecar.content_type,
        "sha256": sidecar.sha256,
        "crc32c": sidecar.crc32c,
        "created_at": _time_text(sidecar.created_at),
        "created_by": sidecar.created_by,
        "updated_at": _time_text(sidecar.updated_at),
        "request_id": sidecar.request_id,
        "description": sidecar.description,
        "version": sidecar.version,
        "tags": sidecar.tags,
        "attributes": dict(sorted(attributes.items())) if attributes else {},
        "retention_policy": sidecar.retention_policy.value,
        "retention_days": sidecar.retention_days,
        "expires_at": _time_text(sidecar.expires_at),
        "finalized_at": _time_text(sidecar.finalized_at),
        "finalized_to": sidecar.finalized_to,
        "legal_hold": sidecar.legal_hold,
        **_set_members(sidecar),
    }
    if sidecar.state in LEAVE_OUT_NULLS:
        members = {name: value for name, value in members.items() if value is not None}
    body = orjson.dumps(members)
    return body[:-1] + b"," + sidecar.unknown.encode() + b"}" if sidecar.unknown else body


def _set_members(sidecar: Sidecar) -> dict[str, Any]:
    """What older sidecars lack, where it has a value."""
    members: dict[str, Any] = {}
    if sidecar.home_since is not None:
        members["home_since"] = sidecar.home_since
    if sidecar.moved_to:
        members["moved_to"] = sidecar.moved_to
    if sidecar.copies is not None:
        members["copies"] = sidecar.copies
    if sidecar.updated_by:
        members["updated_by"] = sidecar.updated_by
    if sidecar.deleted_at is not None:
        members["deleted_at"] = _time_text(sidecar.deleted_at)
    return members


def _time_text(at: datetime | None) -> str | None:
    if at is None:
        return None
    if at.tzinfo is not UTC:
        at = at.astimezone(UTC)
    return at.isoformat(timespec="microseconds")[:-6] + "Z"


# --- reading -----------------------------------------------------------------------------

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_STATES = {state.value: state for state in FileState}
_POLICIES = {policy.value: policy for policy in RetentionPolicy}


def decode(data: bytes) -> Sidecar:
    """Read a sidecar strictly: what it accepts can be stored in a row without loss.

    A byte order mark before it is passed over, as RFC 8259 allows; the next write drops it.

    Raises:
        InvalidSidecar: not JSON, not an object, over 4,096 bytes, a newer schema_version, a
            required field missing, a wrong type or value, NUL or a lone surrogate in a text,
            an integer of more than 64 bits, a name that occurs twice, deep nesting.
    """
    return _read(data.removeprefix(codecs.BOM_UTF8))[0]


def decode_with_digest(data: bytes) -> tuple[Sidecar, bytes]:
    """`decode` and `digest`; bytes that are as `encode` writes them are not encoded again."""
    data = data.removeprefix(codecs.BOM_UTF8)
    sidecar, is_canonical = _read(data)
    return sidecar, _digest_of(data) if is_canonical else digest(sidecar)


def _read(data: bytes) -> tuple[Sidecar, bool]:
    """The sidecar, and whether `data` is certainly what `encode` makes of it."""
    if len(data) > MAX_SIDECAR_BYTES:
        raise InvalidSidecar(f"longer than {MAX_SIDECAR_BYTES} bytes")
    if data[:2] in _UTF_16:
        raise InvalidSidecar("UTF-16, not UTF-8: save it as UTF-8")
    try:
        members = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidSidecar(f"not JSON: {error}") from None
    if type(members) is not dict:
        raise InvalidSidecar("not a JSON object")
    version = members.get("schema_version")
    if type(version) is not int or version < 1:
        raise InvalidSidecar("schema_version is missing or no number")
    if version > SCHEMA_VERSION:
        raise InvalidSidecar(
            f"schema_version {version} is newer than {SCHEMA_VERSION}: update this element's server"
        )
    is_canonical = _is_canonical(data, members)
    is_plain = is_canonical or _is_plain(data, members)
    unknown = "" if is_plain else unknown_members(data.decode(), NAMES)
    return _sidecar(members, unknown), is_canonical


def _is_canonical(data: bytes, members: dict[str, Any]) -> bool:
    """The fields in order and form as `_canonical` has them; so none is unknown or twice there.

    A field that is null or a time in another form would be written in another way.
    """
    names = tuple(members)
    if names != ALWAYS_WRITTEN and names != _names_as_written(members):
        return False
    if _leaves_out_nulls(members) and None in members.values():
        return False
    if b"\\u0000" in data or orjson.dumps(members) != data:
        return False
    nulls = sum(members.get(name, "") is None for name in WRITTEN_AS_NULL)
    times = [members.get(name) for name in TIMES]
    if data.count(b":null") != nulls or not all(
        time is None or (type(time) is str and _TIME.fullmatch(time)) for time in times
    ):
        return False
    attributes = members["attributes"]
    return type(attributes) is dict and list(attributes) == sorted(attributes)


def _leaves_out_nulls(members: dict[str, Any]) -> bool:
    state = members.get("state")
    return type(state) is str and state in LEAVE_OUT_NULLS


def _names_as_written(members: dict[str, Any]) -> tuple[str, ...]:
    always = ALWAYS_WRITTEN
    if _leaves_out_nulls(members):
        nulls = {name for name in WRITTEN_AS_NULL if members.get(name) is None}
        always = tuple(name for name in always if name not in nulls)
    return (*always, *(one for one in WRITTEN_WHEN_SET if members.get(one) not in (None, "")))


def _is_plain(data: bytes, members: dict[str, Any]) -> bool:
    """No unknown field, no name twice, no NUL: told from counts, wrong only towards doubt.

    Each name is followed by `":` unless there is space in between. A text may hold `":` as
    well, which only raises the count; so as many of them as there are distinct names means
    that none occurs twice. Line ends and tabs stand only between members, since JSON has them
    escaped in a text.
    """
    attributes = members.get("attributes")
    names = len(members) + (len(attributes) if type(attributes) is dict else 0)
    return (
        data.count(b'":') == names
        and members.keys() <= NAMES
        and b"\\u0000" not in data
        and b'" ' not in data
        and b"\n" not in data
        and b"\t" not in data
        and b"\r" not in data
    )


def _sidecar(members: dict[str, Any], unknown: str) -> Sidecar:
    created_at = read.time(members, "created_at")
    if created_at is None:
        raise InvalidSidecar("created_at is missing")
    state = read.word(members, "state", _STATES)
    return Sidecar(
        file_id=read.file_id(members),
        revision=read.required(read.integer(members, "revision", 1, read.MAX_INT64), "revision"),
        state=state,
        namespace=read.text(members, "namespace"),
        original_filename=read.text(members, "original_filename"),
        storage_filename=read.storage_filename(members),
        storage_path=read.storage_path(members),
        size_bytes=read.required(
            read.integer(members, "size_bytes", 0, read.MAX_INT64), "size_bytes"
        ),
        content_type=read.text(members, "content_type", "application/octet-stream"),
        sha256=read.sha256(members, may_be_empty=state is FileState.ERASED),
        crc32c=read.integer(members, "crc32c", 0, 0xFFFFFFFF),
        created_at=created_at,
        created_by=read.text(members, "created_by"),
        updated_at=read.time(members, "updated_at") or created_at,
        request_id=read.text(members, "request_id", ""),
        description=read.text(members, "description", ""),
        version=read.text(members, "version", ""),
        tags=read.tags(members),
        attributes=read.attributes(members),
        retention_policy=read.word(members, "retention_policy", _POLICIES),
        retention_days=read.integer(members, "retention_days", 0, read.MAX_INT32),
        expires_at=read.time(members, "expires_at"),
        finalized_at=read.time(members, "finalized_at"),
        finalized_to=read.text(members, "finalized_to", ""),
        legal_hold=read.boolean(members, "legal_hold"),
        home_since=read.integer(members, "home_since", 0, read.MAX_INT64),
        moved_to=read.text(members, "moved_to", ""),
        copies=read.integer(members, "copies", 1, read.MAX_INT32),
        updated_by=read.text(members, "updated_by", ""),
        deleted_at=read.time(members, "deleted_at"),
        schema_version=members["schema_version"],
        unknown=unknown,
    )
