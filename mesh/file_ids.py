"""Ids of files as people and programs write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_WRITTEN = re.compile(
    r"\s*(?:urn:uuid:)?\s*(?P<open>\{)?\s*"
    r"([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})"
    r"\s*(?(open)\})\s*",
    re.IGNORECASE,
)
_VERSION_7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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


def time_in(file_id: str) -> int | None:
    """When the upload of a canonical id started, in milliseconds since 1970; None where it tells
    none: only those of version 7 do.
    """
    if _VERSION_7.fullmatch(file_id) is None:
        return None
    return int(file_id[:8] + file_id[9:13], 16)


def first_home_since(file_id: str, created_at: datetime) -> int:
    """Since when a file that tells no home_since has its home, in milliseconds since 1970: the time
    in its id, or `created_at` where an adopted store has an id of another kind.
    """
    in_id = time_in(file_id)
    return (created_at - _EPOCH) // timedelta(milliseconds=1) if in_id is None else in_id
