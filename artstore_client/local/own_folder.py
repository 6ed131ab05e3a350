"""Folders and files that this account alone writes, whatever others put in their place."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from artstore_client.ownership import is_ours, others_may_write

# No link is followed, no FIFO waited for.
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def is_own_file(found: os.stat_result) -> bool:
    """A regular file of this account that has no other name elsewhere."""
    return stat.S_ISREG(found.st_mode) and is_ours(found) and found.st_nlink == 1


class OwnFolder:
    """A folder of this account, made if it is missing; it stays the same one while it is open.

    Raises:
        OSError: it can't be made or opened, is a link, or belongs to somebody else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with suppress(FileExistsError):
            path.mkdir(parents=True, mode=0o700)
        self._descriptor = os.open(path, _FOLDER)
        try:
            found = os.fstat(self._descriptor)
            if not is_ours(found):
                raise PermissionError(errno.EPERM, "belongs to another account", str(path))
            if others_may_write(found):
                os.fchmod(self._descriptor, 0o700)
        except BaseException:
            self.close()
            raise

    def open(self, name: str, flags: int) -> int:
        """Descriptor of a file in it; made for this account alone with O_CREAT.

        Raises:
            OSError: it can't be opened, or is no regular file that only this account writes.
        """
        descriptor = os.open(name, flags | _FILE, 0o600, dir_fd=self._descriptor)
        found = os.fstat(descriptor)
        if is_own_file(found) and not others_may_write(found):
            return descriptor
        os.close(descriptor)
        raise PermissionError(errno.EPERM, "others can write to it", str(self.path / name))

    def stat(self, name: str) -> os.stat_result:
        """What is there under a name, without following links.

        Raises:
            OSError: nothing, or it can't be looked at.
        """
        return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)

    def names(self) -> list[str]:
        """Everything in it."""
        with os.scandir(self._descriptor) as entries:
            return [entry.name for entry in entries]

    def remove(self, name: str) -> None:
        """Remove a file that may be gone already."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._descriptor)

    def close(self) -> None:
        """Let it go."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
