"""What log lines leave out: names of files, and what callers wrote."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mesh.file_ids import is_file_id

# What the name of a stored blob or sidecar ends with: time, id, extension. The last has at most 20
# bytes, more in the address of an object on S3, and may hold blanks: a message of ours that names a
# path goes on with a colon.
_STORED = re.compile(
    r"_\d{8}T\d{6}_(?P<id>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
    r"(?:\.[^/\n\":]{0,60}?\.attr\.json|\.[^/\s\":]{20,}|\.(?:(?!, \d{4}/)[^/\n\":]){0,19})?",
    re.IGNORECASE,
)
_NOT_IN_NAMES = '/\n":'
_SHORTEST = len("_20260102T030405_") + 36

_MOST_CHARACTERS = 1024
# As `repr` writes text and bytes; an apostrophe in a word begins none. Whatever begins also ends,
# at the latest with the message, and nothing is tried twice: callers choose what stands there.
_QUOTED = re.compile(
    r"""(?<![\w\\])b?(?:'((?:[^'\\]++|\\.)*+)(?:'|\\?\Z)|"((?:[^"\\]++|\\.)*+)(?:"|\\?\Z))""",
    re.DOTALL,
)


def without_names(text: str) -> str:
    """`text` in which names of stored files, that begin with what users call them, are their ids.

    Where no folder stands before a name, what stands there goes with it, and so may a few
    characters behind an extension.
    """
    if len(text) < _SHORTEST:
        return text
    pieces, end = [], 0
    for found in _STORED.finditer(text):
        begin = max(end, *(text.rfind(mark, end, found.start()) + 1 for mark in _NOT_IN_NAMES))
        before = text[begin : found.start()]
        begin += len(before) - len(before.lstrip(" "))
        pieces += [text[end:begin], found["id"]]
        end = found.end()
    return "".join(pieces) + text[end:] if pieces else text


def without_quotes(text: str) -> str:
    """An error's message without what it quotes of the call, unless that is an id.

    Who looks for a file by what it is called has written its name where an id goes. Of a message
    longer than 1,024 characters only what stands before a name that may be cut off there is kept.
    """
    if len(text) > _MOST_CHARACTERS:
        text = text[:_MOST_CHARACTERS]
        text = text[: max(text.rfind(mark) for mark in _NOT_IN_NAMES) + 1]
    return _QUOTED.sub(_left_out, text)


def asked_for(name: str, form: re.Pattern[str]) -> str:
    """What was asked for, as a message tells it: quoted, so that no log line has it, unless it has
    the form of a name that operators give.
    """
    return name if form.fullmatch(name) is not None else repr(name[:64])


def _left_out(found: re.Match[str]) -> str:
    quoted = found[1] if found[1] is not None else found[2]
    return found[0] if is_file_id(quoted) else "'…'"


def redacted(value: Any) -> Any:
    """A value of a log line without names of stored files, also within lists and mappings."""
    if isinstance(value, str):
        return without_names(value)
    if isinstance(value, Mapping):
        return {redacted(key): redacted(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redacted(one) for one in value]
    return value
