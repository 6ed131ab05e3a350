"""How much readers of downloads are handed at a time, so that those who read nothing cost little.

gRPC keeps what is written until its reader takes it, and each copy on the way there counts. So
chunks are small for all but few while many bytes wait to be taken, and whoever waits for a reader
that takes nothing lets go of what it read ahead.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mesh.contract import CHUNK_BYTES

SMALL_CHUNK_BYTES = 64 * 1024
AHEAD_BYTES = 2 * SMALL_CHUNK_BYTES
# Beyond the first, only those have whole chunks that took the last one at once; beyond the second
# nobody has. A chunk is held about five times, in Python and in gRPC.
BUSY_BYTES = 4 * 1024 * 1024
CROWDED_BYTES = 16 * 1024 * 1024
AT_ONCE_SECONDS = 0.1
# Of a reader that has taken nothing for so long nothing is kept but what gRPC has.
STUCK_SECONDS = 1.0


class Unread:
    """What all downloads of a process have handed over and their readers have not taken yet."""

    def __init__(self) -> None:
        self.waiting_bytes = 0


class Reader:
    """One download's reader."""

    def __init__(self, unread: Unread) -> None:
        self._unread = unread
        self._took_at_once = False

    def chunk_bytes(self) -> int:
        """How much the next chunk may hold."""
        waiting = self._unread.waiting_bytes
        if waiting < BUSY_BYTES or (self._took_at_once and waiting < CROWDED_BYTES):
            return CHUNK_BYTES
        return SMALL_CHUNK_BYTES

    def ahead_bytes(self) -> int | None:
        """How much of what follows may come here before it is asked for; None: as it comes."""
        return None if self.chunk_bytes() == CHUNK_BYTES else AHEAD_BYTES

    @contextmanager
    def taking(self, size_bytes: int, *, stuck: Callable[[], None]) -> Iterator[None]:
        """While the reader takes what is written.

        Args:
            stuck: called once it has taken nothing for a while.
        """
        unread = self._unread
        unread.waiting_bytes += size_bytes
        began = time.monotonic()
        alarm = asyncio.get_running_loop().call_later(STUCK_SECONDS, stuck)
        try:
            yield
        finally:
            alarm.cancel()
            unread.waiting_bytes -= size_bytes
        self._took_at_once = time.monotonic() - began < AT_ONCE_SECONDS
