"""What is said of a file before its bytes: checked, remembered, and made into a sidecar."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import orjson

from mesh import content_type
from mesh.contract import DEFAULT_NAMESPACE, MAX_REQUEST_ID_BYTES
from mesh.errors import InvalidArgument
from storage_server.domain import naming
from storage_server.domain.fields import USER_PART, values_of
from storage_server.domain.file_id import time_of
from storage_server.domain.retention import (
    DEFAULT_RETENTION_DAYS,
    MAX_RETENTION_DAYS,
    require_days,
    too_many_days,
)
from storage_server.domain.sidecar import (
    MAX_CREATED_BY_BYTES,
    FileState,
    RetentionPolicy,
    Sidecar,
    encode,
)
from storage_server.domain.user_part import check_labels, check_user_part, distinct
from storage_server.store.port import SealedBlob

DEFAULT_CONTENT_TYPE = "application/octet-stream"
MAX_SIZE_BYTES = 1 << 60
# By versions before this one, whose uploads go on and whose requests may be repeated.
_LONGEST_EVER_TAKEN_DAYS = 36_500
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A checked header, defaults filled in. Two of them are equal when they say the same.

    Attributes:
        size_bytes, sha256: None when not declared.
        retention_days: None for permanent files.
    """

    original_filename: str
    content_type: str = DEFAULT_CONTENT_TYPE
    size_bytes: int | None = None
    sha256: str | None = None
    description: str = ""
    version: str = ""
    tags: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    namespace: str = DEFAULT_NAMESPACE
    retention_policy: RetentionPolicy = RetentionPolicy.TEMPORARY
    retention_days: int | None = DEFAULT_RETENTION_DAYS
    request_id: str = ""

    def to_bytes(self) -> bytes:
        """For the catalog."""
        return orjson.dumps(asdict(self))

    @classmethod
    def from_bytes(cls, data: bytes) -> Header:
        """Undo `to_bytes`."""
        members: dict[str, Any] = orjson.loads(data)
        members["content_type"] = content_type.as_kept(members["content_type"])
        members["tags"] = distinct(members["tags"])
        members["retention_policy"] = RetentionPolicy(members["retention_policy"])
        return cls(**members)

    def repeats(self, first: Header, *, days_said: bool = True) -> bool:
        """Whether this one says what `first` said.

        Args:
            days_said: False of a request that did not say for how long; then it may be the same one
                whatever the policy of the namespace has become meanwhile.
        """
        days = self.retention_days if days_said else first.retention_days
        return replace(self, retention_days=days) == first


def checked(
    header: Header, created_by: str, *, default_days: int = DEFAULT_RETENTION_DAYS
) -> Header:
    """`header` with defaults filled in, after every check that needs no byte of the file.

    A repeat passes as its first request did; `require_new` is for one that is none.

    Args:
        default_days: that a temporary file is kept unless it is said.

    Raises:
        InvalidArgument: naming the field.
    """
    filled = replace(
        header,
        content_type=content_type.canonical(header.content_type or DEFAULT_CONTENT_TYPE),
        namespace=header.namespace or DEFAULT_NAMESPACE,
        retention_days=_retention_days(header, default_days),
        tags=distinct(header.tags),
    )
    check_labels(filled.tags, filled.attributes)
    check_user_part(**values_of(filled, USER_PART))
    check_declared(filled.size_bytes, filled.sha256)
    if len(filled.request_id.encode()) > MAX_REQUEST_ID_BYTES:
        raise InvalidArgument(
            f"request_id is longer than {MAX_REQUEST_ID_BYTES} bytes", field="request_id"
        )
    if len(created_by.encode()) > MAX_CREATED_BY_BYTES:
        raise InvalidArgument(f"the account's name is longer than {MAX_CREATED_BY_BYTES} bytes")
    return filled


def check_declared(size_bytes: int | None, sha256: str | None) -> None:
    """Raise InvalidArgument unless size and digest, where declared, can be true of a file."""
    if size_bytes is not None and not 0 <= size_bytes <= MAX_SIZE_BYTES:
        raise InvalidArgument("size_bytes is negative or absurd", field="size_bytes")
    if sha256 is not None and _SHA256.fullmatch(sha256) is None:
        raise InvalidArgument("sha256 is not 64 lower-case hex digits", field="sha256")


def _retention_days(header: Header, default_days: int) -> int | None:
    days = header.retention_days or 0
    if header.retention_policy is RetentionPolicy.PERMANENT:
        if days:
            raise InvalidArgument("a permanent file has no retention_days", field="retention_days")
        return None
    if not 0 <= days <= _LONGEST_EVER_TAKEN_DAYS:
        raise too_many_days(MAX_RETENTION_DAYS)
    return days or default_days


def require_new(header: Header, *, longest_days: int = MAX_RETENTION_DAYS) -> None:
    """Refuse what only a repeat of a request to an older version, or from before the namespace's
    policy was set, may say.

    Args:
        longest_days: the most that the namespace allows.

    Raises:
        InvalidArgument: naming the field.
    """
    if header.retention_days is not None:
        require_days(header.retention_days, longest_days)


def draft(header: Header, file_id: str, created_by: str) -> Sidecar:
    """The sidecar of the file to be, still without size and digests.

    Everything in it follows from the arguments: a commit that is repeated after a crash
    writes the same bytes again.

    Raises:
        FailedPrecondition: it could not be written; no byte should be taken.
    """
    created_at = time_of(file_id)
    sidecar = Sidecar(
        file_id=file_id,
        namespace=header.namespace,
        original_filename=header.original_filename,
        storage_filename=naming.storage_filename(
            header.original_filename, created_by, created_at, file_id
        ),
        storage_path=naming.folder_of(created_at),
        size_bytes=MAX_SIZE_BYTES,
        content_type=header.content_type,
        sha256="0" * 64,
        crc32c=0xFFFFFFFF,
        created_at=created_at,
        created_by=created_by,
        updated_at=created_at,
        request_id=header.request_id,
        description=header.description,
        version=header.version,
        tags=header.tags,
        attributes=header.attributes,
        retention_policy=header.retention_policy,
        retention_days=header.retention_days,
        expires_at=_expires_at(created_at, header.retention_days),
    )
    encode(sidecar)
    return sidecar


def completed(sidecar: Sidecar, blob: SealedBlob) -> Sidecar:
    """`draft` with what is known once all bytes are there."""
    return replace(sidecar, size_bytes=blob.size_bytes, sha256=blob.sha256, crc32c=blob.crc32c)


def describes(header: Header, sidecar: Sidecar, *, days_said: bool = True) -> bool:
    """Whether `sidecar` is of a file uploaded with this very header.

    Of a file that was changed since, only what no change but its finalization can touch is
    compared; of a stub too, which has forgotten the user's words.

    Args:
        days_said: as of `Header.repeats`.
    """
    changed = sidecar.revision > 1 or sidecar.state is FileState.GONE
    finalized = changed and sidecar.retention_policy is RetentionPolicy.PERMANENT
    same = (
        header.namespace == sidecar.namespace
        and (finalized or header.retention_policy is sidecar.retention_policy)
        and header.size_bytes in (None, sidecar.size_bytes)
        and header.sha256 in (None, sidecar.sha256)
    )
    if not same or changed:
        return same
    return (
        header.original_filename == sidecar.original_filename
        and header.content_type == content_type.as_kept(sidecar.content_type)
        and header.description == sidecar.description
        and header.version == sidecar.version
        and header.tags == distinct(sidecar.tags)
        and dict(header.attributes) == dict(sidecar.attributes)
        and (not days_said or header.retention_days == sidecar.retention_days)
    )


def _expires_at(created_at: datetime, days: int | None) -> datetime | None:
    return None if days is None else created_at + timedelta(days=days)
