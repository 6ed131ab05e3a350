"""Opening and making the folders below a local root, never through a symbolic link.

Everything here blocks and answers with `OSError`.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mesh.errors import Unavailable
from mesh.private import close_to_others
from storage_server.store import durable
from storage_server.store.paths import ELEMENT_FILE

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_BELOW = _FOLDER | os.O_NOFOLLOW
_MAX_REMEMBERED = 4096


class Handle:
    """An open file, closed at the latest when nobody holds it any more.

    A caller that gave up leaves its thread behind; the last one to let go closes.
    """

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def close(self) -> None:
        """Close it; harmless the second time."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()


class Folders:
    """The folders of one store. Safe for many threads."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._durable: set[str] = set()
        self._guard = threading.Lock()
        self.element_seen = False

    @contextmanager
    def opened(self, folder: str) -> Iterator[int]:
        """The descriptor of an existing folder; `""` is the root.

        Raises:
            FileNotFoundError: there is no such folder, though the root is there.
            Unavailable: the root is gone, or a link stands where a folder should.
        """
        fd = self.open(folder)
        try:
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def ensured(self, folder: str) -> Iterator[int]:
        """The descriptor of a folder that survives a crash from now on; made if missing.

        Each folder's entry is forced to the disk the first time this process meets it: one
        that a dead process made may still be in memory only.
        """
        fd = self._open_durable(folder)
        try:
            yield fd
        finally:
            os.close(fd)

    def open(self, folder: str) -> int:
        """`opened` without the closing."""
        fd = self._open_root()
        if not folder:
            return fd
        for name in folder.split("/"):
            fd = _enter(fd, name)
        return fd

    def make_root(self) -> None:
        """Make the root itself, durably, with its parents; nobody else enters it."""
        missing = []
        folder = self._root
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for folder in reversed(missing):
            folder.mkdir(mode=0o700, exist_ok=True)
            fd = os.open(folder.parent, _FOLDER)
            try:
                durable.fsync(fd)
            finally:
                os.close(fd)
        close_to_others(self._root)

    def prove_root(self) -> None:
        """Make sure that what looks missing is: the root is there and is still the element's.

        Raises:
            Unavailable: it is not, as when the file system is not mounted.
        """
        fd = self._open_root()
        try:
            if self.element_seen and element_name(fd) is None:
                raise _root_gone()
        finally:
            os.close(fd)

    def _open_root(self) -> int:
        try:
            return os.open(self._root, _FOLDER)
        except FileNotFoundError as exc:
            raise _root_gone() from exc

    def _open_durable(self, folder: str) -> int:
        with self._guard:
            known = folder in self._durable
        if known:
            try:
                return self.open(folder)
            except FileNotFoundError:
                self._forget(folder)
        fd = self._open_root()
        for name in folder.split("/"):
            fd = _make_and_enter(fd, name)
        self._remember(folder)
        return fd

    def _remember(self, folder: str) -> None:
        with self._guard:
            if len(self._durable) >= _MAX_REMEMBERED:
                self._durable.clear()
            self._durable.add(folder)

    def _forget(self, folder: str) -> None:
        with self._guard:
            self._durable.discard(folder)


def element_name(root: int) -> str | None:
    """The name of `element.json` in an open root, in whatever case; None without one."""
    try:
        os.stat(ELEMENT_FILE, dir_fd=root, follow_symlinks=False)
    except FileNotFoundError:
        return next((name for name in os.listdir(root) if name.lower() == ELEMENT_FILE), None)
    return ELEMENT_FILE


def is_link_error(error: OSError) -> bool:
    """Whether an open failed because a link (or no folder at all) stands there."""
    return error.errno in (errno.ELOOP, errno.ENOTDIR)


def _enter(parent: int, name: str) -> int:
    try:
        return os.open(name, _BELOW, dir_fd=parent)
    except OSError as exc:
        if is_link_error(exc):
            raise Unavailable(
                f"the folder {name!r} of the store is a link or a file", reason="STORAGE_DOWN"
            ) from exc
        raise
    finally:
        os.close(parent)


def _make_and_enter(parent: int, name: str) -> int:
    try:
        durable.make_folder(name, parent)
        durable.fsync(parent)
    except BaseException:
        os.close(parent)
        raise
    return _enter(parent, name)


def _root_gone() -> Unavailable:
    return Unavailable(
        "the element's folder is not there: is its file system mounted?", reason="STORAGE_DOWN"
    )
