"""Every system call that decides what survives a crash, and nothing else.

Callers say `durable.fsync(...)`, never `os.fsync(...)`: tests watch and break the calls here.
All of them block; they run in the store's threads.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Sequence

_WAIT_BEFORE, _WRITE, _WAIT_AFTER = 1, 2, 4
_MAX_BUFFERS = 512


def append(fd: int, chunks: Sequence[bytes | memoryview], offset: int) -> int:
    """Write all of `chunks` one after another from `offset` on; returns the next offset."""
    for start in range(0, len(chunks), _MAX_BUFFERS):
        rest: list[bytes | memoryview] = list(chunks[start : start + _MAX_BUFFERS])
        while rest:
            written = os.pwritev(fd, rest, offset)
            offset += written
            rest = _without(rest, written)
    return offset


def _without(buffers: list[bytes | memoryview], written: int) -> list[bytes | memoryview]:
    for index, buffer in enumerate(buffers):
        if written < len(buffer):
            return [memoryview(buffer)[written:], *buffers[index + 1 :]]
        written -= len(buffer)
    return []


def fsync(fd: int) -> None:
    """Force a file's bytes and attributes, or a folder's entries, to the disk."""
    os.fsync(fd)


def fdatasync(fd: int) -> None:
    """Force a file's bytes and size to the disk."""
    os.fdatasync(fd)


def truncate(fd: int, size: int) -> None:
    """Cut a file to `size` bytes."""
    os.ftruncate(fd, size)


def touch(fd: int) -> None:
    """Set a file's time to now."""
    os.utime(fd)


def rename(source: str, source_folder: int, target: str, target_folder: int) -> None:
    """Move an entry from one open folder to another, replacing what is there."""
    os.rename(source, target, src_dir_fd=source_folder, dst_dir_fd=target_folder)


def make_folder(name: str, parent: int) -> bool:
    """Make a folder in an open one; False when it was there."""
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        return False
    return True


def unlink(name: str, folder: int) -> bool:
    """Remove an entry of an open folder; False when it was not there."""
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


def start_writeback(fd: int, offset: int, length: int) -> None:
    """Let the disk begin with a range that was just written; promises nothing.

    It keeps the later fsync short. Does nothing where the system has no such call.
    """
    _sync_range(fd, offset, length, _WRITE)


def finish_writeback(fd: int, offset: int, length: int) -> None:
    """Wait until the disk has taken a range; bounds what the fsync still has to do.

    Errors are left to the fsync, which reports them.
    """
    _sync_range(fd, offset, length, _WAIT_BEFORE | _WRITE | _WAIT_AFTER)


def _sync_range(fd: int, offset: int, length: int, flags: int) -> None:
    if _sync_file_range is not None:
        _sync_file_range(fd, offset, length, flags)


def _find_sync_file_range() -> ctypes._NamedFuncPointer | None:
    with contextlib.suppress(OSError, AttributeError):
        function = ctypes.CDLL(None).sync_file_range
        function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
        function.restype = ctypes.c_int
        return function
    return None


_sync_file_range = _find_sync_file_range()
