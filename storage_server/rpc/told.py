"""A record of the files table as a message, without the row and the sidecar in between.

It says what `file_message` says of the same row, at a fifth of the cost: a rebuild tells each
follower of each file.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from google.protobuf.timestamp_pb2 import Timestamp

from artstore.v1 import types_pb2
from storage_server.catalog.expiry import expires_at
from storage_server.domain.sidecar import FileState, RetentionPolicy
from storage_server.rpc.messages import POLICIES, STATES

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STATES: Mapping[str, int] = {state.value: STATES[state] for state in FileState}
_POLICIES: Mapping[str, int] = {policy.value: POLICIES[policy] for policy in RetentionPolicy}
_OPTIONAL = ("crc32c", "home_since", "copies")
_TIMES = ("created_at", "updated_at", "expires_at", "finalized_at", "deleted_at")


def tell_file(
    file: types_pb2.File, record: Mapping[str, Any], element_id: str, now: datetime
) -> None:
    """Write into `file`, which is empty, what the record says as seen at `now`."""
    file_id = record["file_id"]
    file.file_id = file_id
    file.revision = record["revision"]
    file.state = _STATES[record["state"]]  # type: ignore[assignment]
    file.namespace = record["namespace"]
    file.original_filename = record["original_filename"]
    file.storage_filename = record["storage_filename"]
    file.storage_path = record["storage_path"]
    file.size_bytes = record["size_bytes"]
    file.content_type = record["content_type"]
    file.sha256 = record["sha256"]
    file.created_by = record["created_by"]
    file.request_id = record["request_id"]
    file.description = record["description"]
    file.version = record["version"]
    file.tags.extend(tag or "" for tag in record["tags"])
    attributes = record["attributes"]
    if attributes != "{}":
        _tell_attributes(file, orjson.loads(attributes))
    file.retention_policy = _POLICIES[record["retention_policy"]]  # type: ignore[assignment]
    file.retention_days = record["retention_days"] or 0
    file.finalized_to = record["finalized_to"]
    file.legal_hold = record["legal_hold"]
    file.moved_to = record["moved_to"]
    file.updated_by = record["updated_by"]
    file.storage_element_id = element_id
    for name in _OPTIONAL:
        if (value := record[name]) is not None:
            setattr(file, name, value)
    for name in _TIMES:
        if (at := record[name]) is not None:
            tell_time(getattr(file, name), at)
    seen_at, ttl_hours = record["cache_updated_at"], record["cache_ttl_hours"]
    tell_time(file.cache_updated_at, seen_at)
    file.cache_ttl_hours = ttl_hours
    file.cache_expired = now >= expires_at(file_id, seen_at, ttl_hours)


def tell_time(stamp: Timestamp, at: datetime) -> None:
    """Write `at`, to the microsecond, into a stamp that is there already, empty."""
    since = at - _EPOCH
    stamp.seconds = since.days * 86_400 + since.seconds
    stamp.nanos = since.microseconds * 1000


def _tell_attributes(file: types_pb2.File, attributes: Mapping[str, Any]) -> None:
    # Only a row damaged in the database holds anything but texts; it must stay readable.
    for name, value in attributes.items():
        file.attributes[name] = value if type(value) is str else orjson.dumps(value).decode()
