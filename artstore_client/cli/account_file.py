"""A mesh file with an account and its secret, for whoever gets the account."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from artstore_client import ConfigurationError, settings


class AccountFile:
    """A mesh file to be; only its owner may read it.

    Args:
        path: where it is to be; it is there already, empty or of the same account.
        unfinished: beside it.
    """

    def __init__(self, path: Path, unfinished: Path) -> None:
        self._path = path
        self._unfinished = unfinished
        self.written = False

    def write(self, client_id: str, client_secret: str) -> None:
        """Put the file there whole: the endpoints that this command uses, and the account.

        Raises:
            OSError: it can't be written.
        """
        places = settings.load().endpoints
        content = {
            "endpoints": {
                "admin": places.admin,
                "ingest": places.ingest,
                "query": places.query,
                "storage": dict(places.storage),
            },
            "client_id": client_id,
            "client_secret": client_secret,
        }
        with self._unfinished.open("w") as file:
            file.write(json.dumps(content, indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._unfinished.replace(self._path)
        self.written = True


@contextmanager
def new_account_file(path: Path, client_id: str = "") -> Iterator[AccountFile]:
    """Make sure, before a secret is made, that a file with it can be written.

    Args:
        client_id: a file of this account may be there already, and is replaced.

    Raises:
        ConfigurationError: something else is there.
        OSError: nothing can be written there.
    """
    replaces = bool(client_id) and _is_of(path, client_id)
    if not replaces:
        try:
            path.touch(mode=0o600, exist_ok=False)
        except FileExistsError:
            raise ConfigurationError(f"{path} is there already; name another file") from None
    unfinished = None
    written = False
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        unfinished = AccountFile(path, Path(name))
        yield unfinished
    finally:
        if unfinished is not None:
            written = unfinished.written
            Path(name).unlink(missing_ok=True)
        if not (written or replaces):
            path.unlink(missing_ok=True)


def _is_of(path: Path, client_id: str) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("client_id") == client_id
