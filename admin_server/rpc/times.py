"""Times in messages."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(moment: datetime) -> Timestamp:
    """`moment` as a message."""
    message = Timestamp()
    message.FromDatetime(moment)
    return message
