"""Memory that was freed goes back to the system.

After many large messages at a time the allocator keeps what it has freed for the next ones, for as
long as the process lives.
"""

from __future__ import annotations

import asyncio
import ctypes
import resource
from collections.abc import Callable
from pathlib import Path

LOOK_SECONDS = 30.0
# What was freed of less is soon needed again.
WORTH_BYTES = 16 * 1024 * 1024

_STATM = Path("/proc/self/statm")


async def give_back_freed_memory(
    trim: Callable[[], None] | None = None, *, look_seconds: float = LOOK_SECONDS
) -> None:
    """Look now and then whether the process has grown, and give back what of it is free.

    Until cancelled; without effect where the C library is not GNU's.

    Args:
        trim: gives it back; that of the C library by default.
    """
    trim = trim or _trim_of_c_library()
    if trim is None:
        return
    least = _resident_bytes()
    while True:
        await asyncio.sleep(look_seconds)
        if _resident_bytes() > least + WORTH_BYTES:
            await asyncio.to_thread(trim)
        least = min(least, _resident_bytes())


def _trim_of_c_library() -> Callable[[], None] | None:
    try:
        malloc_trim = ctypes.CDLL(None).malloc_trim
        _resident_bytes()
    except (AttributeError, OSError):
        return None
    malloc_trim.argtypes = [ctypes.c_size_t]

    def trim() -> None:
        malloc_trim(0)

    return trim


def _resident_bytes() -> int:
    return int(_STATM.read_text().split()[1]) * resource.getpagesize()
