"""Blobs, sidecars and `element.json` in a folder: the blocking calls.

They run in the store's threads. A missing thing is None or nothing to do, once the root is
proved to be there; everything else is an `OSError`, translated where the call was made.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mesh.errors import Aborted, DataLoss, InvalidArgument
from storage_server.domain.naming import is_sidecar_name
from storage_server.store import durable, paths
from storage_server.store.folders import Folders, Handle, element_name
from storage_server.store.os_errors import changes_store
from storage_server.store.port import (
    MAX_SIDECAR_BYTES,
    SIDECAR_SUFFIX,
    UNREADABLE_SIZE,
    Identity,
)

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_STAGE = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_TEMPORARY = ".new-"
_UNREADABLE = (b"", Identity(size=UNREADABLE_SIZE))


@dataclass(frozen=True, slots=True)
class StageFile:
    """Where a stage's bytes are.

    Attributes:
        handle: the staging file, or the blob itself when `placed`.
        size_bytes: of what an earlier process has written.
    """

    handle: Handle
    size_bytes: int = 0
    placed: bool = False


class LocalFiles:
    """One element's folder. Safe for many threads, but for two writers of one path."""

    def __init__(self, root: Path) -> None:
        self.folders = Folders(root)

    # --- the element ---------------------------------------------------------------

    def read_element(self) -> bytes | None:
        with self.folders.opened("") as root:
            name = element_name(root)
            try:
                content = None if name is None else _read_whole(name, root)
            except FileNotFoundError:
                content = None
        if content is None:
            return None
        self.folders.element_seen = True
        return content

    @changes_store
    def write_element(self, content: bytes) -> None:
        with self.folders.ensured(paths.STAGING) as staging, self.folders.opened("") as root:
            replace_file(content, staging, paths.ELEMENT_FILE, root)
        self.folders.element_seen = True

    def is_empty(self) -> bool:
        with self.folders.opened("") as root:
            return _is_empty(root)

    def lock(self) -> Handle | None:
        """The flock of the one writing process, or None when another process has it."""
        self.folders.make_root()
        with self.folders.opened("") as root:
            handle = Handle(_open_lock(root))
        try:
            fcntl.flock(handle.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            return None
        return handle

    @changes_store
    def remove_temporaries(self) -> None:
        """Remove what a dead writer left half-written; only the holder of the lock may."""
        try:
            with self.folders.opened(paths.STAGING) as staging:
                with os.scandir(staging) as entries:
                    names = [entry.name for entry in entries]
                for name in names:
                    if name.startswith(_TEMPORARY):
                        durable.unlink(name, staging)
        except FileNotFoundError:
            return

    def try_write(self) -> None:
        """Write as much as a sidecar to a file among the stages, force it to the disk, remove it.

        A crash leaves it to `remove_temporaries`.
        """
        with self.folders.ensured(paths.STAGING) as staging:
            name = _TEMPORARY + secrets.token_hex(8)
            handle = Handle(os.open(name, _CREATE, 0o600, dir_fd=staging))
            try:
                durable.append(handle.fd, [bytes(MAX_SIDECAR_BYTES)], 0)
                durable.fsync(handle.fd)
            finally:
                handle.close()
                durable.unlink(name, staging)

    def free_bytes(self) -> int:
        with self.folders.opened("") as root:
            found = os.fstatvfs(root)
        return found.f_bavail * found.f_frsize

    # --- blobs ---------------------------------------------------------------------

    def open_blob(self, path: str) -> tuple[Handle, int] | None:
        """The open blob and its size."""
        folder, name = paths.split(path)
        try:
            with self.folders.opened(folder) as fd:
                handle = Handle(os.open(name, _READ, dir_fd=fd))
        except FileNotFoundError:
            self.folders.prove_root()
            return None
        found = os.fstat(handle.fd)
        return (handle, found.st_size) if stat.S_ISREG(found.st_mode) else None

    def stat(self, path: str) -> os.stat_result | None:
        folder, name = paths.split(path)
        try:
            with self.folders.opened(folder) as fd:
                return os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            self.folders.prove_root()
            return None

    def stat_blob(self, path: str) -> int | None:
        found = self.stat(path)
        return found.st_size if found is not None and stat.S_ISREG(found.st_mode) else None

    @changes_store
    def delete(self, path: str) -> None:
        folder, name = paths.split(path)
        try:
            with self.folders.opened(folder) as fd:
                if durable.unlink(name, fd):
                    durable.fsync(fd)
                    return
        except FileNotFoundError:
            pass
        self.folders.prove_root()

    @changes_store
    def rename(self, path: str, to: str) -> bool:
        folder, name = paths.split(path)
        target_folder, target = paths.split(to)
        if folder != target_folder:
            raise InvalidArgument(f"{to!r} is in another folder", field="path")
        try:
            with self.folders.opened(folder) as fd:
                if not _may_become(name, target, fd):
                    return False
                durable.rename(name, fd, target, fd)
                durable.fsync(fd)
                return True
        except FileNotFoundError:
            self.folders.prove_root()
            return False

    # --- stages --------------------------------------------------------------------

    @changes_store
    def new_stage(self, key: str) -> StageFile:
        """An empty staging file."""
        with self.folders.ensured(paths.STAGING) as staging:
            flags = _STAGE | os.O_CREAT | os.O_TRUNC
            return StageFile(Handle(os.open(key, flags, 0o600, dir_fd=staging)))

    @changes_store
    def reopened_stage(self, key: str) -> Handle:
        """The staging file of `key` as this process left it.

        Raises:
            DataLoss: it is not there.
        """
        try:
            with self.folders.ensured(paths.STAGING) as staging:
                return Handle(os.open(key, _STAGE, dir_fd=staging))
        except FileNotFoundError as exc:
            raise _lost(1, 0) from exc

    @changes_store
    def resumed_stage(self, key: str, path: str, size: int) -> StageFile:
        """The staging file of `key` cut to `size`, or the blob that it has become.

        Raises:
            DataLoss: neither is there with so many bytes.
        """
        try:
            with self.folders.ensured(paths.STAGING) as staging:
                handle = Handle(os.open(key, _STAGE, dir_fd=staging))
        except FileNotFoundError:
            return self._placed_stage(key, path, size)
        found = os.fstat(handle.fd).st_size
        if found < size:
            raise _lost(size, found)
        durable.truncate(handle.fd, size)
        return StageFile(handle, size)

    def _placed_stage(self, key: str, path: str, size: int) -> StageFile:
        found = self.open_blob(path)
        if found is None and size == 0:
            return self.new_stage(key)
        if found is None or found[1] < size:
            raise _lost(size, found[1] if found else 0)
        return StageFile(*found, placed=True)

    @changes_store
    def keep_stage(self) -> None:
        """Make the entries of staging files durable."""
        with self.folders.opened(paths.STAGING) as staging:
            durable.fsync(staging)

    @changes_store
    def place(self, key: str, path: str) -> None:
        """Move a sealed staging file to its path; done already is fine."""
        folder, name = paths.split(path)
        with self.folders.opened(paths.STAGING) as staging, self.folders.ensured(folder) as target:
            try:
                durable.rename(key, staging, name, target)
            except FileNotFoundError:
                os.stat(name, dir_fd=target, follow_symlinks=False)
            durable.fsync(target)

    def list_stages(self) -> Sequence[tuple[str, float]]:
        """(key, mtime in seconds) of each staging file."""
        try:
            with self.folders.opened(paths.STAGING) as staging, os.scandir(staging) as entries:
                return [
                    (entry.name, entry.stat(follow_symlinks=False).st_mtime)
                    for entry in entries
                    if not entry.name.startswith(".")
                ]
        except FileNotFoundError:
            self.folders.prove_root()
            return []

    @changes_store
    def discard_stage(self, key: str, path: str) -> None:
        """Remove the staging file, and the blob at `path` (if given) unless it has a sidecar."""
        try:
            with self.folders.opened(paths.STAGING) as staging:
                durable.unlink(key, staging)
        except FileNotFoundError:
            self.folders.prove_root()
        if path and self.stat(path + SIDECAR_SUFFIX) is None:
            self.delete(path)

    # --- sidecars ------------------------------------------------------------------

    def read_sidecar(self, path: str) -> tuple[bytes, Identity] | None:
        folder, name = paths.split(path)
        try:
            with self.folders.opened(folder) as fd:
                return _read_sidecar(name, fd)
        except FileNotFoundError:
            self.folders.prove_root()
            return None

    def read_sidecars(self, wanted: Sequence[str]) -> Sequence[tuple[bytes, Identity] | None]:
        """Those of `wanted`, in order; quickest when paths of one folder stand together."""
        found: list[tuple[bytes, Identity] | None] = []
        current, fd = None, -1
        try:
            for path in wanted:
                folder, name = paths.split(path)
                try:
                    if folder != current:
                        if fd >= 0:
                            os.close(fd)
                        current, fd = None, -1
                        fd = self.folders.open(folder)
                        current = folder
                    found.append(_read_sidecar(name, fd))
                except FileNotFoundError:
                    self.folders.prove_root()
                    found.append(None)
        finally:
            if fd >= 0:
                os.close(fd)
        return found

    def stat_sidecar(self, path: str) -> Identity | None:
        found = self.stat(path)
        return None if found is None else identity_of(found)

    @changes_store
    def write_sidecar(self, path: str, content: bytes, expected: Identity | None) -> Identity:
        if len(content) > MAX_SIDECAR_BYTES:
            raise InvalidArgument(f"the sidecar has more than {MAX_SIDECAR_BYTES} bytes")
        folder, name = paths.split(path)
        if self.stat_sidecar(path) != expected:
            return self._same_or_conflict(path, content)
        with self.folders.ensured(paths.STAGING) as staging, self.folders.ensured(folder) as target:
            return replace_file(content, staging, name, target)

    def _same_or_conflict(self, path: str, content: bytes) -> Identity:
        """The identity of a sidecar that an earlier try, whose answer was lost, has written."""
        found = self.read_sidecar(path)
        if found is None or found[0] != content:
            raise Aborted("the file was changed meanwhile", reason="REVISION_CONFLICT")
        with self.folders.ensured(paths.split(path)[0]) as folder:
            durable.fsync(folder)
        return found[1]


def _open_lock(root: int) -> int:
    """The lock file, made if it is missing. A lock on a store that does not write is good too."""
    flags = os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(paths.LOCK_FILE, os.O_RDWR | os.O_CREAT | flags, 0o600, dir_fd=root)
    except OSError as exc:
        if exc.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        return os.open(paths.LOCK_FILE, os.O_RDONLY | flags, dir_fd=root)


def identity_of(found: os.stat_result) -> Identity:
    """The identity that a stat shows; `size` is UNREADABLE_SIZE for what is no file."""
    if not stat.S_ISREG(found.st_mode):
        return Identity(size=UNREADABLE_SIZE)
    return Identity(found.st_size, found.st_mtime_ns, found.st_ino)


def _may_become(name: str, target: str, folder: int) -> bool:
    """Whether `target` is free, or is `name` itself on a file system that takes both for one."""
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    try:
        there = os.stat(target, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return True
    return os.path.samestat(found, there) and found.st_nlink == 1


def _lost(size: int, found: int) -> DataLoss:
    return DataLoss(f"of {size} bytes sent so far {found} are left", reason="STAGE_LOST")


def _read_sidecar(name: str, folder: int) -> tuple[bytes, Identity]:
    try:
        fd = os.open(name, _READ, dir_fd=folder)
    except FileNotFoundError:
        raise
    except OSError:
        # A link or a socket cannot be opened like this; a file whose disk fails cannot either.
        if stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise
        return _UNREADABLE
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return _UNREADABLE
        content = os.read(fd, MAX_SIDECAR_BYTES + 1)
        return content, Identity(found.st_size, found.st_mtime_ns, found.st_ino)
    finally:
        os.close(fd)


def replace_file(content: bytes, staging: int, name: str, folder: int) -> Identity:
    """Write `name` in an open folder, whole and durably, by way of the open `staging`."""
    temporary = _TEMPORARY + secrets.token_hex(8)
    fd = os.open(temporary, _CREATE, 0o600, dir_fd=staging)
    try:
        durable.append(fd, [content], 0)
        durable.fsync(fd)
        identity = identity_of(os.fstat(fd))
        durable.rename(temporary, staging, name, folder)
    except BaseException:
        durable.unlink(temporary, staging)
        raise
    finally:
        os.close(fd)
    durable.fsync(folder)
    return identity


def _read_whole(name: str, folder: int) -> bytes:
    with os.fdopen(os.open(name, _READ, dir_fd=folder), "rb") as file:
        return file.read()


def _is_the_elements(name: str) -> bool:
    return name.lower() == paths.ELEMENT_FILE or is_sidecar_name(name)


def _is_empty(folder: int, depth: int = 0) -> bool:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.name.isdigit() and entry.is_dir(follow_symlinks=False):
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                below = Handle(os.open(entry.name, flags, dir_fd=folder))
                if not _is_empty(below.fd, depth + 1):
                    return False
            elif depth or _is_the_elements(entry.name):
                return False
    return True
