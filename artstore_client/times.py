"""Times as messages have them, and back."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(moment: datetime | None) -> Timestamp | None:
    """As a message has it; None stays unset."""
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def moment(stamp: Timestamp) -> datetime | None:
    """The time of a field; None when it is unset."""
    return stamp.ToDatetime(tzinfo=UTC) if stamp.seconds else None
