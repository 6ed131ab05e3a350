"""What `artstore put` finds under the names it is given."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from artstore_client.uploads.sources import FileBelow, printable

STANDARD_INPUT = "-"
VANISHED = "it has gone meanwhile"

_KINDS = {
    stat.S_IFIFO: "a pipe, not a file",
    stat.S_IFSOCK: "a socket, not a file",
    stat.S_IFCHR: "a device, not a file",
    stat.S_IFBLK: "a device, not a file",
}

_Folders = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One file to upload.

    Attributes:
        source: None for standard input.
        relative: its path below the folder that was named, which begins it.
        name: that in the folder, where `source` is what a link of this name leads to.
    """

    source: Path | FileBelow | None
    relative: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An entry that is not taken by rule, which is no failure."""

    path: str
    reason: str


Found = Item | LeftOut | OSError


def items_of(path: str, *, recursive: bool, follow_links: bool = False) -> Iterator[Found]:
    """The files that an argument names, folders in the order of their names.

    A link to a file in the same folder is that file; one that leads out of it could name any file
    of whoever reads. What is left out and what can't be looked at comes
    in its place; what is named itself is taken whatever it is, a pipe as well.

    Args:
        follow_links: go through links to folders below the one that was named, and out of it.
    """
    if path == STANDARD_INPUT:
        yield Item(None)
        return
    if not path:
        yield FileNotFoundError(errno.ENOENT, "an empty name is no file", repr(path))
        return
    top = Path(path)
    try:
        found = top.stat()
        base = _shown_as(top)
    except OSError as error:
        yield OSError(error.errno, error.strerror, path)
        return
    if not stat.S_ISDIR(found.st_mode):
        yield Item(top)
    elif not recursive:
        yield IsADirectoryError(errno.EISDIR, "is a folder: use -r", path)
    else:
        yield from _walk(top, base, found, follow_links=follow_links)


def _shown_as(top: Path) -> str:
    """The name that stands for `top` in the paths of its files; of `.` that of its folder."""
    below = top.resolve().parent if not top.name or top.name == ".." else top.parent
    return os.path.relpath(top.absolute(), below.absolute())


def _walk(top: Path, base: str, found: os.stat_result, *, follow_links: bool) -> Iterator[Found]:
    # Not by recursion: a path has room for 2,000 folders.
    waiting: list[tuple[str, str, _Folders]] = [
        (os.fspath(top), base, ((found.st_dev, found.st_ino),))
    ]
    inside = _Inside(top)
    while waiting:
        folder, relative, above = waiting.pop()
        below: list[tuple[str, str, _Folders]] = []
        for entry in _entries(folder):
            if isinstance(entry, OSError):
                yield entry
                continue
            shown = f"{relative}/{entry.name}"
            try:
                status, is_link = entry.stat(), entry.is_symlink()
            except OSError as error:
                yield _not_looked_at(entry, shown, error)
                continue
            identity = (status.st_dev, status.st_ino)
            if stat.S_ISREG(status.st_mode):
                name = printable(shown)
                yield Item(Path(entry.path), name) if follow_links else inside.item(entry, name)
            elif not stat.S_ISDIR(status.st_mode):
                yield LeftOut(shown, _KINDS.get(stat.S_IFMT(status.st_mode), "not a file"))
            elif is_link and not follow_links:
                yield LeftOut(shown, "a link to a folder; --follow-links takes what is in it")
            elif identity in above:
                yield LeftOut(shown, "a loop: it leads back to a folder that it lies in")
            else:
                below.append((entry.path, shown, (*above, identity)))
        waiting += reversed(below)


class _Inside:
    """What lies below a folder when no links are followed but those that stay in it."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self._real = Path(os.path.realpath(top))

    def item(self, entry: os.DirEntry[str], shown: str) -> Item | LeftOut:
        """A file of the folder, by its path without links."""
        path = Path(entry.path)
        below = path.relative_to(self._top)
        if entry.is_symlink():
            real = Path(os.path.realpath(path))
            if not real.is_relative_to(self._real):
                return LeftOut(shown, "a link out of the folder; --follow-links takes the file")
            below = real.relative_to(self._real)
        return Item(FileBelow(self._real, os.fspath(below)), shown, printable(entry.name))


def _entries(folder: str) -> Iterator[os.DirEntry[str] | OSError]:
    entries: list[os.DirEntry[str]] = []
    failed: OSError | None = None
    try:
        with os.scandir(folder) as found:
            entries.extend(found)
    except OSError as error:
        failed = OSError(error.errno, error.strerror, folder)
    yield from sorted(entries, key=lambda entry: entry.name)
    if failed is not None:
        yield failed


def _not_looked_at(entry: os.DirEntry[str], shown: str, error: OSError) -> Found:
    if not isinstance(error, FileNotFoundError):
        return OSError(error.errno, error.strerror, entry.path)
    is_link = Path(entry.path).is_symlink()
    return LeftOut(shown, "a link that leads nowhere" if is_link else VANISHED)
