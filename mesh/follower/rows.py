"""File messages as rows of a replica table, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from google.protobuf.timestamp_pb2 import Timestamp

from artstore.v1.types_pb2 import File, FileState, RetentionPolicy
from mesh.elements.home import Replica

STATES: dict[int, str] = {
    FileState.FILE_STATE_ACTIVE: "active",
    FileState.FILE_STATE_DELETED: "deleted",
    FileState.FILE_STATE_MOVED: "moved",
    FileState.FILE_STATE_COPY: "copy",
    FileState.FILE_STATE_INCOMING: "incoming",
    FileState.FILE_STATE_GONE: "gone",
    FileState.FILE_STATE_ERASED: "erased",
}
KNOWN_STATES = tuple(FileState.ValueType(number) for number in STATES)
# Of a state that this version does not know: nobody is told of such a file, and nobody reads it.
UNKNOWN_STATE = "unknown"
# Of an active file of which a later home is known, where rows have states as they are shown.
EARLIER = "earlier"
POLICIES: dict[int, str] = {
    RetentionPolicy.RETENTION_POLICY_TEMPORARY: "temporary",
    RetentionPolicy.RETENTION_POLICY_PERMANENT: "permanent",
}
_STATE_OF = {word: FileState.ValueType(number) for number, word in STATES.items()}
_POLICY_OF = {word: RetentionPolicy.ValueType(number) for number, word in POLICIES.items()}

KEY = ("file_id", "storage_element_id")
_PLAIN = (
    "revision",
    "namespace",
    "original_filename",
    "storage_filename",
    "storage_path",
    "size_bytes",
    "content_type",
    "sha256",
    "created_by",
    "request_id",
    "description",
    "version",
    "retention_days",
    "finalized_to",
    "legal_hold",
    "moved_to",
    "updated_by",
)
_OPTIONAL = ("crc32c", "home_since", "copies")
_TIMES = ("created_at", "updated_at", "expires_at", "finalized_at", "deleted_at")
# What the element says of a file, but for what only its cache says (cache_*).
CONTENT = (*_PLAIN, *_OPTIONAL, *_TIMES, "state", "tags", "attributes", "retention_policy")
COLUMNS = (*KEY, "sequence", "digest", *CONTENT)
# What a version makes of a message that it knows less of than the next one: another digest.
_MADE_OF = repr((CONTENT, STATES, POLICIES)).encode()
_OF_CACHE = ("cache_updated_at", "cache_ttl_hours", "cache_expired", "cache_stale")

_BEGINNING = datetime.fromtimestamp(0, UTC)


def _optional(file: File, field: str) -> int | None:
    return getattr(file, field) if file.HasField(field) else None  # type: ignore[arg-type]


def _time(file: File, field: str) -> datetime | None:
    if not file.HasField(field):  # type: ignore[arg-type]
        return None
    stamp: Timestamp = getattr(file, field)
    return stamp.ToDatetime(tzinfo=UTC)


def content_digest(file: File) -> bytes:
    """16 bytes: rows that are made of two messages with the same are the same."""
    content = File()
    content.CopyFrom(file)
    for name in _OF_CACHE:
        content.ClearField(name)  # type: ignore[arg-type]
    made = hashlib.blake2b(_MADE_OF, digest_size=16)
    made.update(content.SerializeToString(deterministic=True))
    return made.digest()


def to_row(file: File, element_id: str, sequence: int) -> dict[str, Any]:
    """Column -> value, ready for JSON.

    Args:
        element_id: who tells of the file; what the message itself says of it is not asked.
        sequence: of the change that it comes with.
    """
    row: dict[str, Any] = {name: getattr(file, name) for name in _PLAIN}
    row["file_id"] = file.file_id
    row["storage_element_id"] = element_id
    row["sequence"] = sequence
    row["digest"] = f"\\x{content_digest(file).hex()}"
    for name in _TIMES:
        row[name] = _time(file, name)
    row["created_at"] = row["created_at"] or _BEGINNING
    row["updated_at"] = row["updated_at"] or _BEGINNING
    for name in _OPTIONAL:
        row[name] = _optional(file, name)
    row["state"] = STATES.get(file.state, UNKNOWN_STATE)
    row["tags"] = list(file.tags)
    row["attributes"] = dict(file.attributes)
    row["retention_policy"] = POLICIES.get(file.retention_policy, "temporary")
    return row


def to_file(row: Mapping[str, Any]) -> File:
    """The file of a row (any mapping with the columns' names)."""
    file = File(**{name: row[name] for name in (*KEY, *_PLAIN)})
    file.state = _STATE_OF.get(told_state(row), FileState.FILE_STATE_UNSPECIFIED)
    file.retention_policy = _POLICY_OF[row["retention_policy"]]
    for name in _OPTIONAL:
        if row[name] is not None:
            setattr(file, name, row[name])
    for name in _TIMES:
        if row[name] is not None:
            getattr(file, name).FromDatetime(row[name])
    file.tags.extend(row["tags"])
    attributes = row["attributes"]
    file.attributes.update(orjson.loads(attributes) if isinstance(attributes, str) else attributes)
    return file


def replica_of(row: Mapping[str, Any]) -> Replica:
    """What a row says of where its file is."""
    since = row["home_since"]
    return Replica(
        row["storage_element_id"],
        (state := told_state(row)),
        (row["created_at"] - _BEGINNING) // timedelta(milliseconds=1) if since is None else since,
        row["revision"],
        row["moved_to"] or row["finalized_to"] if state in ("moved", "gone") else "",
    )


def replica_told(file: File, element_id: str) -> Replica:
    """What an element's description of a file says of where the file is."""
    since = file.home_since if file.HasField("home_since") else file.created_at.ToMilliseconds()
    state = STATES.get(file.state, UNKNOWN_STATE)
    return Replica(element_id, state, since, file.revision, file.moved_to)


def told_state(row: Mapping[str, Any]) -> str:
    """The state that a row's element told, also where a row has it as it is shown
    (`mesh.follower.shown`).
    """
    if row["state"] == EARLIER:
        return "active"
    return "moved" if row["state"] == "active" and row["moved_to"] else str(row["state"])
