"""A file with a value of its own in each field, and how those look in each place."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import orjson
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

from artstore.v1 import types_pb2
from storage_server.domain.fields import (
    FIELDS,
    Field,
    Kind,
    values_of,
)
from storage_server.domain.sidecar import FileState, RetentionPolicy, Sidecar

BY_NAME = {field.name: field for field in FIELDS}
TOLD = [field for field in FIELDS if field.told]
FILE = types_pb2.File.DESCRIPTOR
AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
WORDS = {"state": FileState.MOVED, "retention_policy": RetentionPolicy.PERMANENT}
OTHER_WORDS = {"state": FileState.ACTIVE, "retention_policy": RetentionPolicy.TEMPORARY}


def own_value(field: Field, number: int) -> Any:
    """A value that no other field has and that is no default."""
    special = {
        "file_id": f"019b7cc2-0000-7000-8000-{number:012x}",
        "sha256": f"{number:064x}",
        "storage_path": f"2026/01/02/{number:02}",
    }
    kinds: dict[Kind, Any] = {
        Kind.TEXT: f"{field.name}/{number}" if "type" in field.name else f"{field.name}-{number}",
        Kind.WORD: (WORDS if number < 100 else OTHER_WORDS).get(field.name),
        Kind.INT32: number,
        Kind.INT64: 1_000 + number,
        Kind.TIME: AT + timedelta(seconds=number),
        Kind.FLAG: number < 100,
        Kind.TEXTS: (f"{field.name}-{number}",),
        Kind.MAP: {f"{field.name}-{number}": "value"},
    }
    return special.get(field.name, kinds[field.kind])


def a_file(first: int) -> Sidecar:
    return Sidecar(**{field.name: own_value(field, n) for n, field in enumerate(FIELDS, first)})


WHOLE, OTHER = a_file(2), a_file(102)


def of(holder: Any) -> dict[str, Any]:
    return values_of(holder, BY_NAME)


def in_text(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, StrEnum):
        return value.value
    return list(value) if isinstance(value, tuple) else value


def in_column(value: Any) -> Any:
    """As asyncpg takes and gives it."""
    if isinstance(value, dict):
        return orjson.dumps(value).decode()
    return value.value if isinstance(value, StrEnum) else value


def in_message(field: FieldDescriptor, value: Any) -> Any:
    """As the contract has it."""
    if isinstance(value, datetime):
        stamp = Timestamp()
        stamp.FromDatetime(value)
        return stamp
    if field.enum_type is not None:
        (number,) = (
            one.number
            for one in field.enum_type.values
            if one.name.endswith(f"_{value.value.upper()}")
        )
        return number
    return value


def a_message(sidecar: Sidecar) -> types_pb2.File:
    return types_pb2.File(
        **{
            one.name: in_message(FILE.fields_by_name[one.name], getattr(sidecar, one.name))
            for one in TOLD
        }
    )


def in_file(message: types_pb2.File) -> dict[str, Any]:
    return {
        field.name: dict(value)
        if field.name == "attributes"
        else list(value)
        if field.name == "tags"
        else value
        for field, value in message.ListFields()
    }


def a_row(sidecar: Sidecar) -> dict[str, Any]:
    """As a replica table gives it."""
    values = {one.name: in_column(getattr(sidecar, one.name)) for one in TOLD}
    return {**values, "storage_element_id": "se-01", "sequence": 1}


def the_text(sidecar: Sidecar) -> bytes:
    return orjson.dumps({name: in_text(value) for name, value in of(sidecar).items()})


Values = Mapping[str, Any]
# What came of WHOLE, and what should have come.
Passed = tuple[Values, Values]


def lost(passed: Passed) -> list[str]:
    found, wanted = passed
    return [name for name, value in wanted.items() if name not in found or found[name] != value]
