"""Messages as plain JSON: numbers stay numbers, enums become short words, times RFC 3339."""

from __future__ import annotations

import json
from datetime import UTC
from typing import Any

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from artstore_client.cli.visible import visible_json


def as_json(message: Message) -> dict[str, Any]:
    """Every field under its name in the proto; what is unset and has presence is left out."""
    return {
        field.name: _field(message, field)
        for field in message.DESCRIPTOR.fields
        if not field.has_presence or message.HasField(field.name)
    }


def dumps(value: object) -> str:
    """One line of JSON, in UTF-8 but for what a terminal would obey."""
    return visible_json(json.dumps(value, ensure_ascii=False))


def enum_word(descriptor: EnumDescriptor, number: int) -> str:
    """`temporary` for RETENTION_POLICY_TEMPORARY: the value's name without the enum's."""
    value = descriptor.values_by_number.get(number)
    if value is None:
        return str(number)
    # Every enum has X_UNSPECIFIED = 0, which shows what X is.
    prefix = descriptor.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return value.name.removeprefix(prefix).lower()


def _field(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.is_repeated:
        kind = field.message_type
        if kind is not None and kind.GetOptions().map_entry:
            return dict(value)
        return [_scalar(item, field) for item in value]
    return _scalar(value, field)


def _scalar(value: Any, field: Any) -> Any:
    if isinstance(value, Timestamp):
        return value.ToDatetime(tzinfo=UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Message):
        return as_json(value)
    if field.enum_type is not None:
        return enum_word(field.enum_type, value)
    return value
