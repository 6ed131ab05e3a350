"""File ids: UUIDv7 (RFC 9562), written canonically: 36 characters, lower case.

The first 48 bits are the milliseconds since 1970 at which the upload started. Folder, the
timestamp in the name and `created_at` come from them, so a file is found from its id with
no database.
"""

from __future__ import annotations

import os
import re
import uuid
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_VERSION_7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def new_file_id(now: datetime) -> str:
    """A new id whose time is `now` (aware), cut to milliseconds. 74 bits of it are random."""
    milliseconds = (now - _EPOCH) // _MILLISECOND
    if not 0 <= milliseconds < 1 << 48:
        raise ValueError(f"{now.isoformat()} does not fit a UUIDv7")
    noise = int.from_bytes(os.urandom(10), "big")
    value = milliseconds << 80 | 0x7 << 76 | (noise >> 62 & 0xFFF) << 64 | 0b10 << 62
    return str(uuid.UUID(int=value | noise & (1 << 62) - 1))


def is_canonical(file_id: str) -> bool:
    """True for a UUID of any version in canonical lower-case form (adopted stores have others)."""
    return _CANONICAL.fullmatch(file_id) is not None


def milliseconds_of(file_id: str) -> int:
    """When the upload of `file_id` started, in milliseconds since 1970.

    Raises:
        ValueError: `file_id` is not a canonical UUIDv7.
    """
    if _VERSION_7.fullmatch(file_id) is None:
        raise ValueError(f"{file_id!r} is not a canonical UUIDv7")
    return int(file_id[:8] + file_id[9:13], 16)


def time_of(file_id: str) -> datetime:
    """When the upload of `file_id` started: aware UTC, whole milliseconds.

    Raises:
        ValueError: `file_id` is not a canonical UUIDv7.
        OverflowError: of a year beyond 9999.
    """
    return _EPOCH + timedelta(milliseconds=milliseconds_of(file_id))
