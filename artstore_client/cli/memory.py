"""What the C library does with freed memory in the command: twin of `mesh.server.memory`."""

from __future__ import annotations

import os

# M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD and M_ARENA_MAX of mallopt(3).
_KEPT = ((-1, 16 << 20), (-2, 4 << 20), (-3, 16 << 20), (-8, 2))


def keep_memory() -> None:
    """Have it keep some, where the environment does not say how: by default it gives what a chunk
    took back at once, and asks for it page by page at the next one.

    A program that uses the library decides this for itself.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    try:
        # Python can be built without it.
        import ctypes

        set_option = ctypes.CDLL(None).mallopt
    except (ImportError, AttributeError, OSError):
        return
    for option, value in _KEPT:
        set_option(option, value)
