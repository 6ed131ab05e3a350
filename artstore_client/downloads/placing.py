"""Where a download goes in the end, and how it gets there without harm to what is there."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from artstore_client.downloads.part_files import Part
from artstore_client.local.folders import (
    MOST_LINKS,
    open_folder,
    require_not_planted,
    resolved,
)

_DESCRIPTORS = re.compile(r"/proc/(\d+)(?:/task/\d+)?/fd|/dev/fd")
_BLOCK_BYTES = 4 * 1024 * 1024
# Renaming over it is refused: a mount point, another file system, a folder of others.
_ONLY_IN_PLACE = (errno.EBUSY, errno.EXDEV, errno.EPERM, errno.EACCES)
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EACCES)
# They vouch for the bytes that were there.
_SEALS = ("security.capability", "security.ima", "security.evm")


@dataclass(frozen=True, slots=True)
class Target:
    """What was named, as it was found before the download.

    Attributes:
        given: as the caller named it.
        real: what it names, behind links of this account or root.
        existing: of what is there; None when nothing is.
        descriptor: an open file of this process that was named (`/dev/fd/3`, `/dev/stdout`).
        overwrite: what is there, or comes there meanwhile, may be replaced.
    """

    given: Path
    real: Path
    existing: os.stat_result | None
    descriptor: int | None
    overwrite: bool

    @property
    def is_file(self) -> bool:
        """A regular file, there or to be made; anything else is written to as it is."""
        regular = self.existing is None or stat.S_ISREG(self.existing.st_mode)
        return regular and self.descriptor is None


def look_at(given: Path, *, overwrite: bool) -> Target:
    """Find out what `given` names.

    Raises:
        FileExistsError: something is there, be it a link that leads nowhere.
        IsADirectoryError: it is a folder.
        PermissionError: another account may have put there what would be written to.
        OSError: it can't be looked at.
    """
    try:
        existing = given.stat()
    except FileNotFoundError:
        existing = None
    if existing is not None and stat.S_ISDIR(existing.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder: name a file in it", str(given))
    if not overwrite and os.path.lexists(given):
        raise FileExistsError(errno.EEXIST, "exists, and overwrite is not set", str(given))
    descriptor = descriptor_of(given)
    if descriptor is not None:
        return Target(given, given, existing, descriptor, overwrite)
    real = _behind_links(given)
    if existing is not None:
        with open_folder(real.parent) as folder:
            require_not_planted(folder, existing, given)
    return Target(given, real, existing, None, overwrite)


def _behind_links(given: Path) -> Path:
    try:
        whole = given if given.is_absolute() else Path.cwd() / given
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "the working folder is gone", str(given)) from None
    try:
        return resolved(whole)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(given)) from None


def descriptor_of(path: Path) -> int | None:
    """The descriptor that a path like `/dev/stdout` stands for; None when it is no such path."""
    for _ in range(MOST_LINKS):
        folder = os.path.realpath(path.parent)
        found = _DESCRIPTORS.fullmatch(folder)
        if found and path.name.isdecimal() and found[1] in (None, str(os.getpid())):
            return int(path.name)
        if not path.is_symlink():
            return None
        path = Path(folder, path.readlink())
    return None


def open_as_it_is(target: Target) -> BinaryIO:
    """Open a device, FIFO or descriptor to write to; waits until somebody reads a FIFO."""
    if target.descriptor is not None:
        return os.fdopen(os.dup(target.descriptor), "wb", buffering=0)
    if target.existing is not None and stat.S_ISSOCK(target.existing.st_mode):
        raise OSError(errno.ENXIO, "is a socket, which can't be written to", str(target.given))
    descriptor = os.open(target.given, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
    out = os.fdopen(descriptor, "wb", buffering=0)
    if target.existing is None or os.path.samestat(os.fstat(descriptor), target.existing):
        return out
    out.close()
    raise FileExistsError(errno.EEXIST, "came there during the download", str(target.given))


def put_in_place(part: Part, target: Target) -> None:
    """Make the whole `part` the content of `target`.

    A file that is there keeps owner, mode, extended attributes and its other names.

    Raises:
        FileExistsError: another file came there meanwhile, and `overwrite` is not set.
        OSError: it can't be written; `part` is kept when the target may be torn.
    """
    os.fsync(part.file.fileno())
    if not target.overwrite:
        _put_beside(part, target)
        return
    name = target.real.name
    try:
        there = os.stat(name, dir_fd=part.folder, follow_symlinks=False)
    except FileNotFoundError:
        _rename(part, name)
        return
    if not stat.S_ISREG(there.st_mode):
        raise FileExistsError(errno.EEXIST, "is no file any more", str(target.given))
    require_not_planted(part.folder, there, target.given)
    if there.st_nlink > 1 or not _made_alike(part, name, there):
        _copy_into(part, target.real)
        return
    try:
        _rename(part, name)
    except OSError as error:
        if error.errno not in _ONLY_IN_PLACE:
            raise
        _copy_into(part, target.real)


def _rename(part: Part, name: str) -> None:
    os.rename(part.path.name, name, src_dir_fd=part.folder, dst_dir_fd=part.folder)


def _put_beside(part: Part, target: Target) -> None:
    beside, name = part.path.name, target.real.name
    within = {"src_dir_fd": part.folder, "dst_dir_fd": part.folder}
    try:
        os.link(beside, name, **within, follow_symlinks=False)
        os.unlink(beside, dir_fd=part.folder)
    except FileExistsError:
        _accept_same(part, target)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        if os.path.lexists(target.real):
            _accept_same(part, target)
            return
        _rename(part, name)


def _accept_same(part: Part, target: Target) -> None:
    """Another download of the same bytes was faster; anything else stays as it is."""
    with suppress(OSError), _opened(part, target.real.name, os.O_RDONLY) as there:
        if _is_same(part.file, there):
            os.unlink(part.path.name, dir_fd=part.folder)
            return
    raise FileExistsError(errno.EEXIST, "came there during the download", str(target.given))


def _opened(part: Part, name: str, flags: int) -> BinaryIO:
    """The file beside the part, whatever came there: no link is followed, no FIFO waited for."""
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=part.folder)
    return os.fdopen(descriptor, "rb" if flags & os.O_ACCMODE == os.O_RDONLY else "r+b")


def _is_same(part: BinaryIO, there: BinaryIO) -> bool:
    found = os.fstat(there.fileno())
    if not stat.S_ISREG(found.st_mode) or found.st_size != os.fstat(part.fileno()).st_size:
        return False
    part.seek(0)
    while block := part.read(_BLOCK_BYTES):
        if there.read(len(block)) != block:
            return False
    return True


def _made_alike(part: Part, name: str, there: os.stat_result) -> bool:
    """Give the part owner, extended attributes and mode of what it replaces, if that is allowed."""
    descriptor = part.file.fileno()
    try:
        now = os.fstat(descriptor)
        if (now.st_uid, now.st_gid) != (there.st_uid, there.st_gid):
            os.fchown(descriptor, there.st_uid, there.st_gid)
        for attribute, value in _attributes(part, name).items():
            os.setxattr(descriptor, attribute, value)
        # Not the bits that would let others' bytes run as the owner.
        os.fchmod(descriptor, stat.S_IMODE(there.st_mode) & ~(stat.S_ISUID | stat.S_ISGID))
    except OSError:
        return False
    return True


def _attributes(part: Part, name: str) -> dict[str, bytes]:
    if not hasattr(os, "listxattr"):
        return {}
    try:
        with _opened(part, name, os.O_RDONLY) as there:
            names = os.listxattr(there.fileno())
            return {one: os.getxattr(there.fileno(), one) for one in names if one not in _SEALS}
    except OSError:
        return {}


def _copy_into(part: Part, real: Path) -> None:
    size = part.size_bytes
    with _opened(part, real.name, os.O_RDWR) as out:
        _make_room(out.fileno(), size)
        # From here on the part alone is whole.
        part.kept = True
        part.file.seek(0)
        try:
            shutil.copyfileobj(part.file, out, _BLOCK_BYTES)
            out.truncate(size)
            os.fsync(out.fileno())
        except OSError as error:
            text = f"{error.strerror}; what is there now is not whole"
            raise OSError(error.errno, text, str(real)) from error
    part.kept = False


def _make_room(descriptor: int, size: int) -> None:
    """Take the room before the first byte changes, so that a full disk tears nothing.

    Raises:
        OSError: there is no room; the file is as it was.
    """
    before = os.fstat(descriptor).st_size
    if size == 0:
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            return
        os.ftruncate(descriptor, before)
        raise
