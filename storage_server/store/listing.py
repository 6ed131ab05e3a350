"""Listing a local store: every folder `YYYY/MM/DD/HH` with what is in it.

Everything here blocks; `Walk.next_batch` is one step of work for a thread. A folder that
vanishes or cannot be read half-way ends the listing with an error, never with less.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from stat import S_ISREG

from mesh.errors import Unavailable
from storage_server.domain.naming import is_sidecar_name
from storage_server.store.folders import Folders
from storage_server.store.name_index import FolderNames, names_by_id
from storage_server.store.port import (
    SIDECAR_SUFFIX,
    UNKNOWN_SIZE,
    UNREADABLE_SIZE,
    Identity,
    ListedFolder,
    ListedSidecar,
)

_WIDTHS = (4, 2, 2, 2)
_BATCH_FILES = 4000
_BATCH_FOLDERS = 500
_SECOND_NS = 1_000_000_000
_SORTED_TOGETHER = 8192
_TRUSTED_AGE_NS = 50_000_000
_UNREADABLE = Identity(size=UNREADABLE_SIZE)


def trusted_stamp(folder: int) -> str:
    """The stamp of an open folder, to be read before its entries; empty when too young.

    Two changes in one tick of the file system's clock leave the time as it is, so a time says
    nothing about changes until it is older than a tick. Times in whole seconds are taken for
    those of a file system that has no finer ones.
    """
    modified = os.fstat(folder).st_mtime_ns
    tick = _TRUSTED_AGE_NS if modified % _SECOND_NS else _SECOND_NS
    return str(modified) if time.time_ns() - modified >= tick else ""


def stamp_of(folders: Folders, folder: str) -> str:
    """The stamp of a folder now, of whatever age; empty when there is no such folder."""
    try:
        with folders.opened(folder) as fd:
            return str(os.fstat(fd).st_mtime_ns)
    except FileNotFoundError:
        return ""


def names_in(folders: Folders, folder: str, *, sidecars: bool = True) -> FolderNames | None:
    """The sidecars (or else the blobs) of one folder by file id; None without such a folder."""
    try:
        with folders.opened(folder) as fd:
            stamp = trusted_stamp(fd)
            with os.scandir(fd) as entries:
                names = (entry.name for entry in entries)
                return FolderNames(stamp, names_by_id(names, sidecars=sidecars))
    except FileNotFoundError:
        folders.prove_root()
        return None


class Walk:
    """One listing in the making. Not for two threads at a time."""

    def __init__(
        self, folders: Folders, known_stamps: Mapping[str, str], *, blob_sizes: bool
    ) -> None:
        self._folders = folders
        self._known_stamps = known_stamps
        self._blob_sizes = blob_sizes
        self._paths = self._folder_paths("", 0)

    def next_batch(self) -> Sequence[ListedFolder]:
        """The next folders, enough of them to be worth a hop between threads; none at the end.

        Raises:
            Unavailable: a folder is gone or unreadable.
        """
        batch: list[ListedFolder] = []
        files = 0
        for path in self._paths:
            listed = self._list(path)
            batch.append(listed)
            files += len(listed.sidecars) + len(listed.blobs)
            if files >= _BATCH_FILES or len(batch) >= _BATCH_FOLDERS:
                break
        return batch

    def _folder_paths(self, parent: str, depth: int) -> Iterator[str]:
        for name in self._numbered(parent, depth):
            path = f"{parent}/{name}" if parent else name
            if depth + 1 == len(_WIDTHS):
                yield path
            else:
                yield from self._folder_paths(path, depth + 1)

    def _numbered(self, parent: str, depth: int) -> list[str]:
        with _met(self._folders, parent) as fd, os.scandir(fd) as entries:
            names = []
            for entry in entries:
                name = entry.name
                if len(name) != _WIDTHS[depth] or not (name.isascii() and name.isdigit()):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    names.append(name)
                elif entry.is_symlink():
                    raise Unavailable(f"the store's folder {parent}/{name} is a link")
        names.sort()
        return names

    def _list(self, path: str) -> ListedFolder:
        with _met(self._folders, path) as fd:
            stamp = trusted_stamp(fd)
            if stamp and self._known_stamps.get(path) == stamp:
                return ListedFolder(path, stamp, (), (), unchanged=True)
            sidecars, blobs = _entries(fd, path + "/", self._blob_sizes)
        return ListedFolder(path, stamp, sidecars, blobs)


@contextmanager
def _met(folders: Folders, path: str) -> Iterator[int]:
    """`Folders.opened`, for a folder that the listing has met: not to find it is an error."""
    try:
        with folders.opened(path) as fd:
            yield fd
    except FileNotFoundError as exc:
        raise Unavailable(f"the store's folder {path} vanished while listed") from exc


def _entries(
    folder: int, prefix: str, blob_sizes: bool
) -> tuple[list[ListedSidecar], list[tuple[str, int]]]:
    with os.scandir(folder) as entries:
        # By name, since a folder that changes while it is read may show an entry twice.
        by_name = {entry.name: entry for entry in entries}
    sidecars: list[ListedSidecar] = []
    blobs: list[tuple[str, int]] = []
    # Half the cost of calling the classes, which counts with a hundred thousand of them.
    new = tuple.__new__
    for name in _in_order(list(by_name)):
        # Taken out one by one: to free a hundred thousand at once would stop all threads.
        entry = by_name.pop(name)
        if name[0] == ".":
            continue
        try:
            # A blob's name seldom ends like a sidecar's in another case: not even a call for it.
            if name.endswith(SIDECAR_SUFFIX) or (name[-1] in "nN" and is_sidecar_name(name)):
                found = entry.stat(follow_symlinks=False)
                values = (found.st_size, found.st_mtime_ns, found.st_ino, "")
                identity = new(Identity, values) if S_ISREG(found.st_mode) else _UNREADABLE
                sidecars.append(new(ListedSidecar, (prefix + name, identity)))
            elif entry.is_file(follow_symlinks=False):
                blobs.append((name, _size(entry) if blob_sizes else UNKNOWN_SIZE))
        except FileNotFoundError:
            continue
    return sidecars, blobs


def _in_order(names: list[str]) -> list[str]:
    """`sorted(names)` in steps of some milliseconds, since a sort holds up all other threads."""
    runs = [
        sorted(names[at : at + _SORTED_TOGETHER]) for at in range(0, len(names), _SORTED_TOGETHER)
    ]
    while len(runs) > 1:
        pairs = zip(runs[::2], [*runs[1::2], []] if len(runs) % 2 else runs[1::2], strict=True)
        # Sorting what is two runs is merging them.
        runs = [sorted(one + other) for one, other in pairs]
    return runs[0] if runs else []


def _size(entry: os.DirEntry[str]) -> int:
    return entry.stat(follow_symlinks=False).st_size
