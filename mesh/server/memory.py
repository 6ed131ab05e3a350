"""Giving memory back that nobody needs any more.

The C library keeps what was freed in the midst of what is in use, so that a server that once had
many callers at a time would stay as large as it was then.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable
from pathlib import Path

INTERVAL_SECONDS = 5.0
# A server that has grown by less since it was smallest is left alone.
GROWN_BYTES = 24 * 1024 * 1024

_SIZES = Path("/proc/self/statm")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


async def give_memory_back() -> None:
    """Look now and then, until cancelled."""
    trim = _trim()
    if trim is None:
        return
    least = resident_bytes()
    while True:
        await asyncio.sleep(INTERVAL_SECONDS)
        least = min(least, resident_bytes())
        if resident_bytes() - least >= GROWN_BYTES:
            await asyncio.to_thread(trim, 0)


def resident_bytes() -> int:
    """Memory of this process."""
    return int(_SIZES.read_text(encoding="ascii").split()[1]) * _PAGE_BYTES


def _trim() -> Callable[[int], int] | None:
    """The C library's malloc_trim; None where it has none, as musl's."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return None
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    found: Callable[[int], int] = trim
    return found
