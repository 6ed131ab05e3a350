"""What an error of the operating system means to a caller of the store."""

from __future__ import annotations

import errno
import os

from mesh.errors import ArtStoreError, ResourceExhausted, Unavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def translated(error: OSError, what: str) -> ArtStoreError:
    """The exception to raise instead of `error` (from it). `what` names the thing by its
    relative path; the absolute one stays in the chained error, for the log.
    """
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    if error.errno in _FULL:
        return ResourceExhausted(f"the storage is full: {what}: {reason}", reason="STORAGE_FULL")
    return Unavailable(f"the storage does not work: {what}: {reason}", reason="STORAGE_DOWN")
