"""The careful reading of a sidecar: finds the members that this version does not know.

`sidecar.decode` comes here only in doubt: unknown fields, unusual spacing, a NUL somewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container
from typing import Any, NoReturn

MAX_DEPTH = 16
_SPACE = re.compile(r"[ \t\n\r]*")
_INT64 = range(-(1 << 63), 1 << 63)


class InvalidSidecar(ValueError):
    """The bytes are no sidecar of this version. `reason` says why, in one line."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def unknown_members(text: str, known: Container[str]) -> str:
    """Raw text of the members of a JSON object whose names are not in `known`.

    They are joined by commas in their order; each is kept as it stands, from its name's quote
    to the end of its value.

    Args:
        text: an object that a strict JSON parser has accepted.

    Raises:
        InvalidSidecar: a name that occurs twice in one object (at any level), an integer of
            more than 64 bits, NUL in a text, nesting deeper than MAX_DEPTH.
    """
    try:
        return ",".join(text[start:end] for name, start, end in _members(text) if name not in known)
    except RecursionError:
        raise InvalidSidecar(f"nested deeper than {MAX_DEPTH} levels") from None


def _members(text: str) -> list[tuple[str, int, int]]:
    """(name, start, end) of each member of the outermost object, checked."""
    found: list[tuple[str, int, int]] = []
    names: set[str] = set()
    at = _skip(text, _skip(text, 0) + 1)
    while text[at] == '"':
        start = at
        name, at = _DECODER.raw_decode(text, at)
        at = _skip(text, _skip(text, at) + 1)
        value, at = _DECODER.raw_decode(text, at)
        _check(value, 2)
        _check(name, 1)
        if name in names:
            raise InvalidSidecar(f"the field {name!r} occurs twice")
        names.add(name)
        found.append((name, start, at))
        at = _skip(text, at)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return found


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _check(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InvalidSidecar(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        if "\0" in value:
            raise InvalidSidecar("a text holds NUL")
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, dict):
        for name, item in value.items():
            _check(name, depth)
            _check(item, depth + 1)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in members if names.count(name) > 1)
        raise InvalidSidecar(f"the field {twice!r} occurs twice")
    return members


def _int64(digits: str) -> int:
    value = int(digits) if len(digits) <= 20 else 1 << 64
    if value not in _INT64:
        raise InvalidSidecar("an integer has more than 64 bits")
    return value


def _constant(name: str) -> NoReturn:
    raise InvalidSidecar(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_int64, parse_constant=_constant)
