"""File messages as rows of a replica table, and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from google.protobuf.timestamp_pb2 import Timestamp

from artstore.v1.types_pb2 import File, FileState, RetentionPolicy

STATES: dict[int, str] = {
    FileState.FILE_STATE_ACTIVE: "active",
    FileState.FILE_STATE_DELETED: "deleted",
    FileState.FILE_STATE_MOVED: "moved",
}
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
)
_TIMES = ("created_at", "updated_at", "expires_at", "finalized_at")
# What the element says of a file, but for what only its cache says (cache_*).
CONTENT = (*_PLAIN, *_TIMES, "state", "crc32c", "tags", "attributes", "retention_policy")
COLUMNS = (*KEY, "sequence", *CONTENT)

_BEGINNING = datetime.fromtimestamp(0, UTC)


def _time(file: File, field: str) -> datetime | None:
    if not file.HasField(field):  # type: ignore[arg-type]
        return None
    stamp: Timestamp = getattr(file, field)
    return stamp.ToDatetime(tzinfo=UTC)


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
    for name in _TIMES:
        row[name] = _time(file, name)
    row["created_at"] = row["created_at"] or _BEGINNING
    row["updated_at"] = row["updated_at"] or _BEGINNING
    row["state"] = STATES.get(file.state, "active")
    row["crc32c"] = file.crc32c if file.HasField("crc32c") else None
    row["tags"] = list(file.tags)
    row["attributes"] = dict(file.attributes)
    row["retention_policy"] = POLICIES.get(file.retention_policy, "temporary")
    return row


def to_file(row: Mapping[str, Any]) -> File:
    """The file of a row (any mapping with the columns' names)."""
    file = File(**{name: row[name] for name in (*KEY, *_PLAIN)})
    file.state = _STATE_OF[row["state"]]
    file.retention_policy = _POLICY_OF[row["retention_policy"]]
    if row["crc32c"] is not None:
        file.crc32c = row["crc32c"]
    for name in _TIMES:
        if row[name] is not None:
            getattr(file, name).FromDatetime(row[name])
    file.tags.extend(row["tags"])
    attributes = row["attributes"]
    file.attributes.update(orjson.loads(attributes) if isinstance(attributes, str) else attributes)
    return file
