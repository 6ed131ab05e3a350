"""Ids of files as people and programs write them."""

from __future__ import annotations

import re

_WRITTEN = re.compile(
    r"\s*(?:urn:uuid:)?\s*(?P<open>\{)?\s*"
    r"([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})"
    r"\s*(?(open)\})\s*",
    re.IGNORECASE,
)
# What the name of a stored blob or sidecar ends with: time, id, extension.
_STORED = re.compile(
    r"_\d{8}T\d{6}_(?P<id>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
    r"(?:\.[^/]{0,60}?\.attr\.json|\.[^/\s'\":,;)]*)?",
    re.IGNORECASE,
)

_NOT_IN_NAMES = '/\n":'
_SHORTEST = len("_20260102T030405_") + 36


def canonical_file_id(written: str) -> str:
    """The one form that a file's id has everywhere: 36 characters, lower case.

    Upper case, braces, `urn:uuid:`, missing hyphens and white space around it are understood.
    What is no UUID is answered as it came: there is no such file, and every message names it as
    the caller wrote it.
    """
    found = _WRITTEN.fullmatch(written)
    return written if found is None else "-".join(found.groups()[1:]).lower()


def is_file_id(written: str) -> bool:
    """Whether `written` is an id, in whatever form."""
    return _WRITTEN.fullmatch(written) is not None


def without_names(text: str) -> str:
    """`text` in which names of stored files, that begin with what users call them, are their ids.

    Where no folder stands before a name, what stands there goes with it.
    """
    if len(text) < _SHORTEST:
        return text
    pieces, end = [], 0
    for found in _STORED.finditer(text):
        begin = max(end, *(text.rfind(mark, 0, found.start()) + 1 for mark in _NOT_IN_NAMES))
        begin += len(text[begin:]) - len(text[begin:].lstrip(" "))
        pieces += [text[end:begin], found["id"]]
        end = found.end()
    return "".join(pieces) + text[end:] if pieces else text
