"""Two `get`s of one file into one folder at once: the slower one finds its work done."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from pathlib import Path

from artstore.v1 import types_pb2
from artstore_client import Client
from artstore_client.results import DownloadedFile

_START_TICKS_FIELD = 19


async def already_there(
    client: Client, file_id: str, target: Path, *, whole: bool
) -> DownloadedFile | None:
    """The file, when another command put it at `target` since this one was started.

    Answers None when nothing is there.

    Raises:
        FileExistsError: something else is there, or was there before.
        ArtStoreError: the file can't be described.
    """
    found = _look_at(target)
    if found is None:
        return None
    if whole and stat.S_ISREG(found.st_mode) and found.st_ctime >= _started():
        file = await client.stat(file_id)
        if _is_content(file, target):
            return DownloadedFile(file, 0, path=target, verified=True)
    raise FileExistsError(errno.EEXIST, "exists: use --force, or -o with another name", str(target))


def _look_at(target: Path) -> os.stat_result | None:
    try:
        return target.lstat()
    except FileNotFoundError:
        return None


def _started() -> float:
    """When this process was started, in seconds since 1970; now, where that is not told."""
    try:
        told = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        seconds = int(told[_START_TICKS_FIELD]) / os.sysconf("SC_CLK_TCK")
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + seconds
    except (OSError, AttributeError):
        return time.time()


def _is_content(file: types_pb2.File, target: Path) -> bool:
    # It was a file a moment ago: what is there now may be a link or a FIFO.
    descriptor = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as there:
        if not file.sha256 or os.fstat(there.fileno()).st_size != file.size_bytes:
            return False
        return hashlib.file_digest(there, "sha256").hexdigest() == file.sha256
