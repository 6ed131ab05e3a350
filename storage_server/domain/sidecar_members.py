"""Typed reading of a sidecar's members. Whatever is wrong is InvalidSidecar, naming the field."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from storage_server.domain import file_id as ids
from storage_server.domain.sidecar_scan import InvalidSidecar

MAX_INT64 = (1 << 63) - 1
MAX_INT32 = (1 << 31) - 1
YEARS = range(1970, 9999)
_HEX = frozenset("0123456789abcdef")
_Word = TypeVar("_Word", bound=StrEnum)


def text(members: dict[str, Any], name: str, default: str | None = None) -> str:
    value = members.get(name)
    if type(value) is str:
        return value
    if value is None and default is not None:
        return default
    raise InvalidSidecar(f"{name} is missing" if value is None else f"{name} is no text")


def integer(members: dict[str, Any], name: str, low: int, high: int) -> int | None:
    value = members.get(name)
    if value is None:
        return None
    if type(value) is not int or not low <= value <= high:
        raise InvalidSidecar(f"{name} is no whole number from {low} to {high}")
    return value


def required(value: int | None, name: str) -> int:
    if value is None:
        raise InvalidSidecar(f"{name} is missing")
    return value


def boolean(members: dict[str, Any], name: str) -> bool:
    value = members.get(name, False)
    if type(value) is not bool:
        raise InvalidSidecar(f"{name} is neither true nor false")
    return value


def word(members: dict[str, Any], name: str, words: Mapping[str, _Word]) -> _Word:
    value = members.get(name)
    found = words.get(value) if type(value) is str else None
    if found is None:
        raise InvalidSidecar(f"{name} is none of {', '.join(words)}")
    return found


def file_id(members: dict[str, Any]) -> str:
    value = text(members, "file_id")
    if not ids.is_canonical(value):
        raise InvalidSidecar("file_id is no UUID in canonical form")
    return value


def sha256(members: dict[str, Any], *, may_be_empty: bool) -> str:
    value = text(members, "sha256")
    if not value and may_be_empty:
        return value
    if len(value) != 64 or not _HEX.issuperset(value):
        raise InvalidSidecar("sha256 is not 64 lower-case hex digits")
    return value


def storage_filename(members: dict[str, Any]) -> str:
    value = text(members, "storage_filename")
    if not value or "/" in value or value in {".", ".."}:
        raise InvalidSidecar("storage_filename is no name of a file")
    return value


def storage_path(members: dict[str, Any]) -> str:
    value = text(members, "storage_path")
    if value.startswith("/") or ".." in value.split("/"):
        raise InvalidSidecar("storage_path leaves the store")
    return value


def tags(members: dict[str, Any]) -> tuple[str, ...]:
    value = members.get("tags")
    if value is None:
        return ()
    if type(value) is not list or not all(type(tag) is str for tag in value):
        raise InvalidSidecar("tags is no list of texts")
    return tuple(value)


def attributes(members: dict[str, Any]) -> dict[str, str]:
    value = members.get("attributes")
    if value is None:
        return {}
    if type(value) is not dict or not all(type(text) is str for text in value.values()):
        raise InvalidSidecar("attributes is no object of texts")
    return value


def time(members: dict[str, Any], name: str) -> datetime | None:
    value = members.get(name)
    if value is None:
        return None
    try:
        if type(value) is not str or value[10] not in "Tt":
            raise InvalidSidecar(f"{name} is no RFC 3339 time")
        at = datetime.fromisoformat(value)
        if at.tzinfo is not UTC:
            if at.tzinfo is None:
                raise InvalidSidecar(f"{name} has no time zone")
            at = at.astimezone(UTC)
    except (ValueError, IndexError, OverflowError) as error:
        if isinstance(error, InvalidSidecar):
            raise
        raise InvalidSidecar(f"{name} is no RFC 3339 time") from None
    if at.year not in YEARS:
        raise InvalidSidecar(f"{name} is out of range")
    return at
