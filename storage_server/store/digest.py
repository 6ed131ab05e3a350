"""The digests of a blob while it streams by."""

from __future__ import annotations

import hashlib

import google_crc32c

from storage_server.store.port import SealedBlob


class RunningDigest:
    """sha256 and crc32c of the bytes so far. Not thread-safe; large updates free the GIL."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self.crc32c = 0
        self._sha256 = hashlib.sha256()

    def update(self, data: bytes | memoryview) -> None:
        """Add the next bytes."""
        self._sha256.update(data)
        self.crc32c = crc32c(data, self.crc32c)
        self.size_bytes += len(data)

    def result(self) -> SealedBlob:
        """Size and digests of all bytes so far."""
        return SealedBlob(self.size_bytes, self._sha256.hexdigest(), self.crc32c)


def crc32c(data: bytes | memoryview, start: int = 0) -> int:
    """crc32c of `data`, continuing from `start`."""
    return int(google_crc32c.extend(start, bytes(data) if isinstance(data, memoryview) else data))
