"""Where a cluster's Unix socket lies: its path is short, and the folder is its owner's alone."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from pathlib import Path

from launch.os_user import OsUser, owner_name

# A socket's whole path must fit in sockaddr_un (108 on Linux, 104 on macOS).
_SOCKET_PATH_LIMIT = 103
_LONGEST_SOCKET_NAME = ".s.PGSQL.65535"
_SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")


class SocketFolderFailed(RuntimeError):
    """There is no place for the socket, or somebody else has it."""


def socket_folder_of(folder: Path) -> Path:
    """Return where the socket of a cluster lies.

    Beside it; if that path is too long for a socket, or has a comma, which divides hosts for
    libpq, in the folder of temporary files (TMPDIR), else in one of a short name.

    Raises:
        SocketFolderFailed: no such folder can be written.
    """
    near = folder.parent / f"{folder.name}.socket"
    if _fits(near):
        return near
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    for place in (_temporary(), *_SHORT_FOLDERS):
        elsewhere = Path(place, f"artstore-{os.geteuid()}-{name}")
        if _fits(elsewhere) and os.access(place, os.W_OK | os.X_OK):
            return elsewhere
    raise SocketFolderFailed(
        f"no folder for a Unix socket: {near} is too long, and none of"
        f" {', '.join(_SHORT_FOLDERS)} can be written: set ARTSTORE_DATA_DIR to a shorter path"
    )


def _fits(folder: Path) -> bool:
    length = len(os.fsencode(folder / _LONGEST_SOCKET_NAME))
    return length <= _SOCKET_PATH_LIMIT and "," not in str(folder)


def _temporary() -> str:
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:
        return _SHORT_FOLDERS[0]


def make_private(folder: Path, user: OsUser | None) -> None:
    """Make a folder of mode 0700 and give it to `user`, or to the present account if None.

    Raises:
        SocketFolderFailed: there is something of that name that is not ours.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    try:
        # What is looked at and what is changed are one folder, whoever may rename it meanwhile.
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as refused:
        raise SocketFolderFailed(
            f"{folder} can't be used ({refused.strerror}): remove it"
        ) from refused
    try:
        _make_private(folder, opened, user)
    finally:
        os.close(opened)


def _make_private(folder: Path, opened: int, user: OsUser | None) -> None:
    found = os.fstat(opened)
    ours = {os.geteuid(), user.uid if user is not None else os.geteuid()}
    # Root takes over what another account left in its data folder, nothing in a public one.
    public = folder.parent.stat().st_mode & stat.S_IWOTH
    taken = os.geteuid() == 0 and not public
    if found.st_uid not in ours and not taken:
        raise SocketFolderFailed(
            f"{folder} belongs to {owner_name(found.st_uid)}: remove it, or set ARTSTORE_DATA_DIR"
            " to a shorter path"
        )
    if user is not None:
        os.fchown(opened, user.uid, user.gid)
    os.fchmod(opened, 0o700)
