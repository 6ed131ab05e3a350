"""What the C library does with freed memory: kept for the next message, given back in the end.

By default it gives what a message took back at once, and asks for it page by page at the next one.
And it keeps what was freed in the midst of what is in use, so that a server that once had many
callers at a time would stay as large as it was then.
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

# M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD and M_ARENA_MAX of mallopt(3). The messages of a
# stream lie well below, also of the largest chunks; what idles is given back by the clock. Arenas
# keep as much each, and by default there are eight for each core.
_KEPT = ((-1, 16 << 20), (-2, 4 << 20), (-3, 16 << 20), (-8, 2))

_SIZES = Path("/proc/self/statm")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def keep_memory() -> None:
    """Have the C library keep some of what is freed, where the environment does not say how."""
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    for option, value in _KEPT:
        set_option(option, value)


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
