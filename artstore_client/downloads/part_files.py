"""Files of downloads that are not whole yet: `.<file_id>.part` beside their target."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from artstore_client.local.folders import open_folder
from artstore_client.local.own_folder import is_own_file

# No link is followed, no FIFO waited for: whoever can write to the folder can put one there.
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MODE = 0o666
# What opening a name answers that somebody else has taken.
_TAKEN = (errno.ELOOP, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ENXIO, errno.ENODEV)


@dataclass
class Part:
    """A part that is open, and this process's alone.

    Attributes:
        folder: descriptor of the folder that it and its target are in, while it is open.
        resumable: a later download of the same file finds it.
        kept: it stays when the download ends before it is in its place.
    """

    path: Path
    folder: int
    file: BinaryIO
    resumable: bool
    kept: bool

    @property
    def size_bytes(self) -> int:
        """Bytes that are in it."""
        return os.fstat(self.file.fileno()).st_size


def part_name(file_id: str, wanted: str = "") -> str:
    """The name of a part; `wanted` tells ranges apart."""
    # Named by the id: short enough everywhere, and never taken for a part of another file.
    return f".{file_id}{wanted}.part"


@contextmanager
def open_part(folder: Path, name: str, *, whole: bool) -> Iterator[Part]:
    """The part `name` in `folder`, or one of its own when another process has that.

    It is removed in the end, except one with bytes of a whole file, which can be taken up.

    Raises:
        OSError: nothing can be written there.
    """
    with open_folder(folder) as within:
        descriptor = _shared(within, name)
        resumable = descriptor is not None
        if descriptor is None:
            name = f"{name.removesuffix('.part')}.{secrets.token_hex(4)}.part"
            descriptor = os.open(name, _FLAGS | os.O_EXCL, _MODE, dir_fd=within)
        with os.fdopen(descriptor, "a+b", buffering=0) as file:
            part = Part(folder / name, within, file, resumable, kept=resumable and whole)
            try:
                yield part
            finally:
                if not part.kept or part.size_bytes == 0:
                    _remove(part)


def _remove(part: Part) -> None:
    # After it was renamed, another process may have begun a part of this name.
    if _is_at(part.file.fileno(), part.folder, part.path.name):
        with suppress(FileNotFoundError):
            os.unlink(part.path.name, dir_fd=part.folder)


def _shared(folder: int, name: str) -> int | None:
    """Open and lock the part that other processes know; None when it is not to be had."""
    while True:
        try:
            descriptor = os.open(name, _FLAGS, _MODE, dir_fd=folder)
        except OSError as error:
            if error.errno in _TAKEN and _is_there(folder, name):
                return None
            raise
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, folder, name):
                # One with another name is a file of its own, which must not be written to.
                if is_own_file(os.fstat(descriptor)):
                    return descriptor
                os.close(descriptor)
                return None
        except OSError:
            # Another process has it, or this file system knows no locks.
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        # Its last owner renamed it between our open and our lock.
        os.close(descriptor)


def _is_there(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return False
    return True


def _is_at(descriptor: int, folder: int, name: str) -> bool:
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), found)
