"""What a client must remember of an upload, so that another process can go on with it.

One file for each upload in `~/.cache/artstore/uploads` (or below XDG_CACHE_HOME), for its owner
only, since it holds the upload's token. It is written before the upload is opened, so that the
request id survives; it is locked while it is used, and removed when the file is committed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from artstore_client.contract import REQUEST_LIFE_SECONDS
from artstore_client.local.own_folder import OwnFolder


@dataclass(frozen=True, slots=True)
class UploadTicket:
    """How an upload that is open on an element is found again; about to be opened when `upload_id`
    is empty.
    """

    request_id: str
    upload_id: str = ""
    upload_token: str = ""
    storage_element_id: str = ""
    endpoint: str = ""
    chunk_bytes: int = 0


@dataclass(frozen=True, slots=True)
class UploadKey:
    """What makes two uploads the same one: if any of these differs, nothing is resumed."""

    path: str
    mtime_ns: int
    size_bytes: int
    mesh_id: str
    header: bytes

    @property
    def file_name(self) -> str:
        """Name of the state file."""
        told = "\0".join((self.path, str(self.mtime_ns), str(self.size_bytes), self.mesh_id))
        return hashlib.sha256(told.encode("utf-8", "surrogateescape") + self.header).hexdigest()


def default_folder() -> Path:
    """`artstore/uploads` in the user's cache folder."""
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        # An account without a name has no home. Nothing can be kept below this one.
        cache = Path(os.devnull)
    return cache / "artstore" / "uploads"


class StateFile:
    """The state file of one upload, locked; use `open_state`."""

    def __init__(
        self, folder: OwnFolder, name: str, descriptor: int, clock: Callable[[], float]
    ) -> None:
        self._folder = folder
        self._name = name
        self._descriptor = descriptor
        self._clock = clock

    def read(self) -> UploadTicket | None:
        """What an earlier process left; None when there is nothing usable."""
        try:
            content = json.loads(os.pread(self._descriptor, 64 * 1024, 0))
            age = self._clock() - float(content["saved_at"])
            told = {item.name: content[item.name] for item in fields(UploadTicket)}
            ticket = UploadTicket(**told)
        except (ValueError, KeyError, TypeError):
            return None
        return ticket if 0 <= age < REQUEST_LIFE_SECONDS and ticket.request_id else None

    def save(self, ticket: UploadTicket) -> None:
        """Replace what is remembered. A save cut short is read as nothing.

        On a full disk nothing is remembered, which is no reason not to upload.
        """
        content = json.dumps(asdict(ticket) | {"saved_at": self._clock()}).encode()
        os.ftruncate(self._descriptor, 0)
        with suppress(OSError):
            os.pwrite(self._descriptor, content, 0)

    def forget(self) -> None:
        """Remember nothing: the upload is committed, or can't be gone on with."""
        os.ftruncate(self._descriptor, 0)

    def close(self) -> None:
        """Give the lock back. What was saved stays; a file with nothing in it goes."""
        if self._descriptor < 0:
            return
        if os.fstat(self._descriptor).st_size == 0:
            self._folder.remove(self._name)
        os.close(self._descriptor)
        self._folder.close()
        self._descriptor = -1


def open_state(
    folder: Path, key: UploadKey, clock: Callable[[], float] = time.time
) -> StateFile | None:
    """Lock the state file of `key`; None when another process has it or the folder is unusable.

    Without it an upload works as well; it only can't be taken up by a later process. What somebody
    else may have put there is not read: it could name a server of theirs.
    """
    name = f"{key.file_name}.json"
    try:
        own = OwnFolder(folder)
    except OSError:
        return None
    try:
        return StateFile(own, name, _locked(own, name), clock)
    except OSError:
        own.close()
        return None
    except BaseException:
        own.close()
        raise


def _locked(folder: OwnFolder, name: str) -> int:
    while True:
        descriptor = folder.open(name, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), folder.stat(name)):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        # Its last owner removed it between our open and our lock.
        os.close(descriptor)


def sweep(folder: Path, clock: Callable[[], float] = time.time) -> None:
    """Remove state files of uploads that no server remembers any more."""
    with suppress(OSError):
        if not folder.exists():
            return
        with OwnFolder(folder) as own:
            for name in own.names():
                if name.endswith(".json") and _age(own, name, clock) > REQUEST_LIFE_SECONDS:
                    own.remove(name)


def _age(folder: OwnFolder, name: str, clock: Callable[[], float]) -> float:
    try:
        return clock() - folder.stat(name).st_mtime
    except FileNotFoundError:
        return 0.0
