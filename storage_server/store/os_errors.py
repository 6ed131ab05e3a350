"""What an error of the operating system means to a caller of the store.

Whoever may read and not write meets EACCES and EPERM like one who may not read: only the call
tells. So calls that change the store are marked by `changes_store`.

| errno of a change             | meaning                                | status             |
|-------------------------------|----------------------------------------|--------------------|
| EROFS, EACCES, EPERM          | it reads and does not write            | StoreReadOnly      |
| ENOSPC, EDQUOT, EFBIG         | no room, for this user or at all       | ResourceExhausted  |
| others (EIO, ESTALE ...)      | maybe this once: whether the store     | Unavailable        |
|                               | writes at all is tried right afterwards|                    |
"""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from mesh.errors import ArtStoreError, ResourceExhausted, StoreReadOnly, Unavailable

P = ParamSpec("P")
T = TypeVar("T")

_FULL = {
    errno.ENOSPC: "no space is left",
    errno.EDQUOT: "its disk quota is used up",
    errno.EFBIG: "the file is too large for it",
}
_REFUSED = {
    errno.EROFS: "its file system is read-only",
    errno.EACCES: "no permission to write (owner or mode of its folder)",
    errno.EPERM: "writing is not permitted (owner or attributes of its folder)",
}


class WriteError(OSError):
    """An error of a call that changes the store."""


def changes_store(call: Callable[P, T]) -> Callable[P, T]:
    """Mark a blocking call that changes the store: its errors leave as `WriteError`."""

    @functools.wraps(call)
    def marked(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except WriteError:
            raise
        except OSError as exc:
            raise WriteError(exc.errno, exc.strerror) from exc

    return marked


def translated(error: OSError, what: str) -> ArtStoreError:
    """The exception to raise instead of `error` (from it). `what` names the thing by its
    relative path; the absolute one stays in the chained error, for the log.
    """
    number = error.errno or 0
    reason = os.strerror(number) if number else type(error).__name__
    if number in _FULL:
        return ResourceExhausted(f"the storage is full: {what}: {reason}", reason="STORAGE_FULL")
    if number in _REFUSED and (isinstance(error, WriteError) or number == errno.EROFS):
        return StoreReadOnly(f"the storage reads but does not write: {what}: {reason}")
    return Unavailable(f"the storage does not work: {what}: {reason}", reason="STORAGE_DOWN")


def unwritable(error: OSError) -> ArtStoreError:
    """Why a store takes no writes, when the write that was to prove it ended with `error`.

    Here every error that leaves room means the same; the message is short and names no path.
    """
    number = error.errno or 0
    if number in _FULL:
        return ResourceExhausted(_FULL[number], reason="STORAGE_FULL")
    other = f"writing to it fails: {os.strerror(number) if number else type(error).__name__}"
    return StoreReadOnly(_REFUSED.get(number, other))
