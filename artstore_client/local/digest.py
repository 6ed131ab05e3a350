"""Checksums of bytes that come in pieces and may come again."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable

import crc32c as _crc32c


def crc32c(data: bytes | memoryview) -> int:
    """CRC-32C (Castagnoli) of `data`."""
    return _crc32c.crc32c(data)


class RunningDigest:
    """SHA-256 of a file whose bytes pass in order, some of them twice after a resume."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._lock = threading.Lock()
        self.position = 0

    def update(self, offset: int, data: bytes | memoryview) -> None:
        """Take the part of `data` that lies beyond `position`.

        Raises:
            ValueError: `offset` leaves a gap.
        """
        # A thread whose caller was cancelled may still be in here when the next try begins.
        with self._lock:
            if offset > self.position:
                raise ValueError(f"bytes {self.position} to {offset} were left out")
            fresh = memoryview(data)[self.position - offset :]
            self._sha256.update(fresh)
            self.position += len(fresh)

    def update_all(self, offset: int, pieces: Iterable[bytes | memoryview]) -> None:
        """`update` with each of the pieces, which follow one another."""
        for data in pieces:
            self.update(offset, data)
            offset += len(data)

    @property
    def sha256(self) -> str:
        """Lower-case hex of the bytes so far."""
        return self._sha256.hexdigest()
