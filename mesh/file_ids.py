"""Ids of files as people and programs write them."""

from __future__ import annotations

import re

_WRITTEN = re.compile(
    r"\s*(?:urn:uuid:)?\s*(?P<open>\{)?\s*"
    r"([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})"
    r"\s*(?(open)\})\s*",
    re.IGNORECASE,
)


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
