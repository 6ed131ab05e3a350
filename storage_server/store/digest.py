"""The digests of a blob while it streams by."""

from __future__ import annotations

import hashlib

from mesh.checksum import JOINED_FROM_BYTES, crc32c, joined
from storage_server.store.port import SealedBlob


class RunningDigest:
    """sha256 and crc32c of the bytes so far. Not thread-safe; large updates free the GIL."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self.crc32c = 0
        self._sha256 = hashlib.sha256()

    def update(self, data: bytes | memoryview, known: int | None = None) -> None:
        """Add the next bytes.

        Args:
            known: their own crc32c, if it is known.
        """
        self._sha256.update(data)
        self.crc32c = after(self.crc32c, data, known)
        self.size_bytes += len(data)

    def result(self) -> SealedBlob:
        """Size and digests of all bytes so far."""
        return SealedBlob(self.size_bytes, self._sha256.hexdigest(), self.crc32c)


def after(before: int, data: bytes | memoryview, known: int | None) -> int:
    """crc32c of what had the one `before` and of `data` behind it, whose own may be known."""
    if known is not None and len(data) >= JOINED_FROM_BYTES:
        return joined(before, known, len(data))
    return crc32c(data, before)
