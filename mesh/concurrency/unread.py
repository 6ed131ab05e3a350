"""How much readers of downloads are handed at a time, so that those who read nothing cost little.

gRPC keeps what is written until its reader takes it, and each copy on the way there counts. So
chunks are small for all but few where many read, and whoever waits for a reader that takes nothing
lets go of what it read ahead.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mesh.contract import CHUNK_BYTES

SMALL_CHUNK_BYTES = 64 * 1024
AHEAD_BYTES = 2 * SMALL_CHUNK_BYTES
# Of what all readers have in their hands: beyond the first, only those have whole chunks that took
# the last one at once; beyond the second nobody has. It is held about five times, in Python and in
# gRPC.
BUSY_BYTES = 4 * 1024 * 1024
CROWDED_BYTES = 16 * 1024 * 1024
AT_ONCE_SECONDS = 0.1
# Of a reader that has taken nothing for so long nothing is kept but what gRPC has.
STUCK_SECONDS = 1.0


class Unread:
    """What all downloads of a process have handed over, or are about to."""

    def __init__(self) -> None:
        self.held_bytes = 0


class Reader:
    """One download's reader. `close` it in the end."""

    def __init__(self, unread: Unread) -> None:
        self._unread = unread
        self._held = 0
        self._took_at_once = False

    def chunk_bytes(self) -> int:
        """How much the next chunk may hold; from now on the reader counts with that."""
        others = self._unread.held_bytes - self._held
        may_have_more = self._took_at_once and others < CROWDED_BYTES
        size = CHUNK_BYTES if others < BUSY_BYTES or may_have_more else SMALL_CHUNK_BYTES
        self._count(size)
        return size

    def ahead_bytes(self) -> int | None:
        """How much of what follows may come here before it is asked for; None: as it comes."""
        return None if self.chunk_bytes() == CHUNK_BYTES else AHEAD_BYTES

    @contextmanager
    def taking(self, size_bytes: int, *, stuck: Callable[[], None]) -> Iterator[None]:
        """While the reader takes what is written.

        Args:
            stuck: called once it has taken nothing for a while.
        """
        began = time.monotonic()
        alarm = asyncio.get_running_loop().call_later(STUCK_SECONDS, stuck)
        try:
            yield
        finally:
            alarm.cancel()
        if size_bytes:
            self._took_at_once = time.monotonic() - began < AT_ONCE_SECONDS

    def close(self) -> None:
        """It has all that it will get."""
        self._count(0)

    def _count(self, size_bytes: int) -> None:
        self._unread.held_bytes += size_bytes - self._held
        self._held = size_bytes
