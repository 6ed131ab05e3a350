"""The data folder: what lies where, who may use it, and what a killed run left behind."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from launch import processes
from launch.logs import shorten
from launch.os_user import OsUser, owner_name
from launch.private_file import write_private
from launch.processes import Identity
from mesh.private import close_to_others

# Servers are ended before what they stand on.
INFRASTRUCTURE = ("valkey", "postgres")
_SERVERS_GRACE_SECONDS = 3.0
_INFRASTRUCTURE_GRACE_SECONDS = 10.0
_MIB = 2**20
# Three empty databases and their write-ahead log; later the log of what is written at a start.
_FIRST_ROOM_BYTES = 160 * _MIB
_ROOM_BYTES = 48 * _MIB


class AlreadyRunning(RuntimeError):
    """Another launcher uses this folder."""


class DataFolderUnusable(RuntimeError):
    """Nothing can be kept in this folder; the message says why and what to do."""


class DataFolder:
    """One `.artstore`. Everything in it belongs to ArtStore."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mesh_file = path / "mesh.json"
        self.credentials_file = path / "credentials.json"
        self.processes_file = path / "processes.json"
        self.lock_file = path / "launch.lock"
        self.logs = path / "logs"
        self.postgres = path / "postgres"
        self.valkey = path / "valkey"

    def entries(self, stores: Iterable[str]) -> list[str]:
        """Return the names in the folder that are ours, but for the lock.

        Args:
            stores: names of the elements' stores.
        """
        ours = {
            *stores,
            "credentials.json",
            "keys",
            "audit",
            "logs",
            "mesh.json",
            "postgres",
            "postgres.new",
            "postgres.socket",
            "processes.json",
            "tls",
            "valkey",
        }
        found = [path.name for path in self.path.iterdir()]
        written_halfway = (".mesh.json.", ".credentials.json.", ".processes.json.")
        return [name for name in found if name in ours or name.startswith(written_halfway)]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder for this process; the kernel lets go when the process ends.

        Raises:
            AlreadyRunning: somebody else holds it.
            DataFolderUnusable: it can't be written, or its disk is full.
        """
        descriptor = self._open()
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
                raise AlreadyRunning(
                    f"a mesh runs in {self.path} already (launcher's pid {holder}): stop it, "
                    "or set ARTSTORE_DATA_DIR and ARTSTORE_PORT_OFFSET for a second one"
                ) from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        """Make the folder and open its lock."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._close_to_others()
            self.logs.mkdir(exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
            descriptor = os.open(self.lock_file, flags, 0o600)
        except OSError as refused:
            raise DataFolderUnusable(_told(self.path, refused)) from refused
        needed = _ROOM_BYTES if self.postgres.exists() else _FIRST_ROOM_BYTES
        free = shutil.disk_usage(self.path).free
        if free < needed:
            os.close(descriptor)
            raise DataFolderUnusable(
                f"the disk of {self.path} has {free // _MIB} MiB left, and a start needs"
                f" {needed // _MIB}: free some, or set ARTSTORE_DATA_DIR to a folder elsewhere"
            )
        return descriptor

    def _close_to_others(self) -> None:
        """Nobody else enters from now on, what an earlier version left open in here included.

        Raises:
            DataFolderUnusable: somebody else made it, who could put there what we would read.
        """
        for found in (self.path.lstat(), self.path.stat()):
            if not _is_trusted(found, self.path):
                raise DataFolderUnusable(
                    f"{self.path} belongs to {owner_name(found.st_uid)}, who could change what is"
                    " kept there: make it yours (chown -R), or set ARTSTORE_DATA_DIR to a folder"
                    " of yours"
                )
        user = OsUser.needed()
        passes = user is None or user.passes_through_folders()
        close_to_others(self.path, keep=0 if passes else 0o011)
        # Should the folder itself be one that can't be closed.
        for name in ("keys", "audit", "logs", "valkey"):
            close_to_others(self.path / name)
        for path in (self.mesh_file, *self.logs.glob("*.log*")):
            close_to_others(path)

    def record(self, running: Mapping[str, Identity]) -> None:
        """Remember which processes belong to this run."""
        text = {
            name: {"pid": identity.pid, "started_at": identity.started_at}
            for name, identity in running.items()
        }
        write_private(self.processes_file, json.dumps(text))

    def end_leftovers(self) -> list[str]:
        """End what a killed run left behind and return the names. Blocks for up to 15 s."""
        try:
            found = json.loads(self.processes_file.read_text())
            known = {name: Identity(**entry) for name, entry in found.items()}
        except (OSError, ValueError, TypeError):
            return []
        servers = [identity for name, identity in known.items() if name not in INFRASTRUCTURE]
        below = [known[name] for name in INFRASTRUCTURE if name in known]
        ended = processes.end(servers, signal.SIGTERM, grace_seconds=_SERVERS_GRACE_SECONDS)
        ended += processes.end(below, signal.SIGINT, grace_seconds=_INFRASTRUCTURE_GRACE_SECONDS)
        self.processes_file.unlink(missing_ok=True)
        return [name for name, identity in known.items() if identity.pid in ended]

    def log_of(self, name: str) -> Path:
        """Return the log of one process, after putting an overgrown one aside as `.1`."""
        path = self.logs / f"{name}.log"
        shorten(path)
        return path


def _is_trusted(found: os.stat_result, folder: Path) -> bool:
    if found.st_uid in {0, os.geteuid()}:
        return True
    # Root takes over what another account has, but not what it put into a folder of all.
    return os.geteuid() == 0 and not folder.parent.stat().st_mode & stat.S_IWOTH


def _told(folder: Path, refused: OSError) -> str:
    """What is in the way, whose it is, and what to do."""
    reason = (refused.strerror or str(refused)).lower()
    obstacle = Path(refused.filename or folder)
    # The nearest thing that is there: a folder that can't be made is in the way of nobody.
    while not os.path.lexists(obstacle) and obstacle != obstacle.parent:
        obstacle = obstacle.parent
    try:
        owner = f", {obstacle} belongs to {owner_name(obstacle.lstat().st_uid)}"
    except OSError:
        owner = ""
    return (
        f"{folder} can't be used ({reason}{owner}): make it yours (chown -R), or set"
        " ARTSTORE_DATA_DIR to a folder that you can write"
    )
