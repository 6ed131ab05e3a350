"""A mesh file with an account and its secret, for whoever gets the account."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from artstore_client import ConfigurationError, settings
from artstore_client.local.folders import open_folder
from artstore_client.local.own_folder import is_own_file

# Never through a link, never into what is there.
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class AccountFile:
    """A mesh file to be; only its owner may read it.

    Args:
        path: where it is to be; it is there already, empty or of the same account.
        folder: descriptor of its folder.
    """

    def __init__(self, path: Path, folder: int) -> None:
        self._path = path
        self._folder = folder
        self._unfinished = f".{path.name}.{secrets.token_hex(4)}"
        self._file = os.open(self._unfinished, _NEW, 0o600, dir_fd=folder)
        self.written = False

    def write(self, client_id: str, client_secret: str) -> None:
        """Put the file there whole: the endpoints that this command uses, and the account.

        Raises:
            OSError: it can't be written.
        """
        content = _places() | {"client_id": client_id, "client_secret": client_secret}
        with os.fdopen(os.dup(self._file), "w") as file:
            file.write(json.dumps(content, indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(
            self._unfinished, self._path.name, src_dir_fd=self._folder, dst_dir_fd=self._folder
        )
        self.written = True

    def close(self) -> None:
        """Leave nothing but the file itself."""
        os.close(self._file)
        if not self.written:
            with suppress(FileNotFoundError):
                os.unlink(self._unfinished, dir_fd=self._folder)


def _places() -> dict[str, object]:
    """What a mesh file says of the servers and how to reach them."""
    known = settings.load()
    endpoints = known.endpoints
    places: dict[str, object] = {
        "endpoints": {
            "admin": endpoints.admin,
            "ingest": endpoints.ingest,
            "query": endpoints.query,
            "storage": dict(endpoints.storage),
        }
    }
    if known.tls is not None:
        files = asdict(known.tls)
        places["tls"] = {name: str(Path(file).absolute()) for name, file in files.items() if file}
    return places


@contextmanager
def new_account_file(path: Path, client_id: str = "") -> Iterator[AccountFile]:
    """Make sure, before a secret is made, that a file with it can be written.

    Args:
        client_id: a file of this account may be there already, and is replaced.

    Raises:
        ConfigurationError: something else is there.
        OSError: nothing can be written there, or a link of another account leads there.
    """
    with open_folder(path.parent) as folder:
        replaces = bool(client_id) and _is_of(folder, path.name, client_id)
        if not replaces:
            try:
                os.close(os.open(path.name, _NEW, 0o600, dir_fd=folder))
            except FileExistsError:
                raise ConfigurationError(f"{path} is there already; name another file") from None
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path)) from None
        written = False
        try:
            unfinished = AccountFile(path, folder)
            try:
                yield unfinished
            finally:
                written = unfinished.written
                unfinished.close()
        finally:
            if not (written or replaces):
                with suppress(FileNotFoundError):
                    os.unlink(path.name, dir_fd=folder)


def _is_of(folder: int, name: str, client_id: str) -> bool:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(name, flags, dir_fd=folder), "rb") as file:
            if not is_own_file(os.fstat(file.fileno())):
                return False
            content = json.loads(file.read())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("client_id") == client_id
