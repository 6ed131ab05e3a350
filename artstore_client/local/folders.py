"""Folders as they were named, reached by no link that another account made.

Whoever can write to a folder can put a link there that leads to the files of somebody else.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from artstore_client.ownership import is_trusted, others_may_write

MOST_LINKS = 40
# To pass through a folder is enough, where the system has a way to say so.
_PASS = getattr(os, "O_PATH", os.O_RDONLY)
_FOLDER = _PASS | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ROOT = "/"


@contextmanager
def open_folder(path: Path) -> Iterator[int]:
    """A descriptor to name files by: it stays that folder, whatever is renamed meanwhile.

    Raises:
        PermissionError: a link of another account leads there.
        OSError: it can't be reached.
    """
    descriptor = _reach(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def resolved(path: Path) -> Path:
    """`path` without links in its last part; what is behind a link of ours or root's.

    Raises:
        PermissionError: a link of another account stands there, or leads there.
        OSError: its folder can't be reached, or there are too many links.
    """
    here = path
    for _ in range(MOST_LINKS):
        with open_folder(here.parent) as folder:
            try:
                found = os.stat(here.name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                return here
            if not stat.S_ISLNK(found.st_mode):
                return here
            _require_trusted(found, here, path)
            here = here.parent / os.readlink(here.name, dir_fd=folder)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def open_below(top: Path, relative: str) -> int:
    """Descriptor to read a file below a folder by, reached by no link below it.

    Raises:
        OSError: it can't be opened, or is no file any more.
    """
    *folders, name = Path(relative).parts
    within = os.open(top, _PASS | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in folders:
            below = os.open(part, _FOLDER, dir_fd=within)
            os.close(within)
            within = below
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=within)
    finally:
        os.close(within)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.ENXIO, "is no file any more")


def require_not_planted(folder: int, found: os.stat_result, path: Path) -> None:
    """Make sure that what stands under a name was not put there to catch what is written to it.

    Where everybody can write, a file may be there to be read by its owner, and a second name to
    change the file that it names.

    Args:
        found: what stands there, not a link.
        path: for the message.

    Raises:
        PermissionError: it may have been.
    """
    where = os.fstat(folder)
    if not others_may_write(where) or stat.S_ISDIR(found.st_mode):
        return
    by_anybody = bool(where.st_mode & (stat.S_IWOTH | stat.S_ISVTX))
    if by_anybody and not (is_trusted(found) or found.st_uid == where.st_uid):
        raise PermissionError(
            errno.EPERM,
            f"belongs to another account (uid {found.st_uid}), in a folder that everybody writes"
            " to; name another file",
            str(path),
        )
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
        raise PermissionError(
            errno.EPERM,
            "has other names, and its folder is one that others write to; remove it first",
            str(path),
        )


def _reach(path: Path) -> int:
    links = 0
    left = list(reversed(path.parts))
    descriptor = os.open(".", _FOLDER)
    try:
        while left:
            part = left.pop()
            if part.startswith(_ROOT):
                part = _ROOT
            found = os.stat(part, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                _require_trusted(found, Path(part), path)
                links += 1
                if links > MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                left += reversed(Path(os.readlink(part, dir_fd=descriptor)).parts)
                continue
            below = os.open(part, _FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
    except OSError as error:
        os.close(descriptor)
        raise OSError(error.errno, error.strerror, str(path)) from None
    return descriptor


def _require_trusted(link: os.stat_result, place: Path, path: Path) -> None:
    if not is_trusted(link):
        raise PermissionError(
            errno.EPERM,
            f"{place.name} is a link that belongs to another account (uid {link.st_uid}); name what"
            " it leads to",
            str(path),
        )
