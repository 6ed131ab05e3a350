"""The first account and the servers' own: made at the first start, kept for all later ones."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from launch.private_file import write_private

FIRST_ACCOUNT = "admin"


class CredentialsError(RuntimeError):
    """The credentials file cannot be read; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Account:
    """One service account as admin is to make it. `role` is a role's short name, "ADMIN"."""

    client_id: str
    client_secret: str
    role: str
    namespaces: tuple[str, ...]
    first: bool


def load_or_make(path: Path, server_accounts: Iterable[str]) -> dict[str, Account]:
    """Return the accounts by client_id, those kept in `path` and new ones for who is missing.

    Raises:
        CredentialsError: the file is there and is not one of ours.
    """
    accounts = _read(path)
    wanted = [(FIRST_ACCOUNT, "ADMIN", True)]
    wanted += [(client_id, "SERVICE", False) for client_id in server_accounts]
    missing = [entry for entry in wanted if entry[0] not in accounts]
    for client_id, role, first in missing:
        accounts[client_id] = Account(client_id, secrets.token_urlsafe(32), role, ("*",), first)
    if missing:
        text = json.dumps({"accounts": [asdict(account) for account in accounts.values()]})
        write_private(path, text)
    return accounts


def _read(path: Path) -> dict[str, Account]:
    try:
        found = json.loads(path.read_text())["accounts"]
        accounts = [
            Account(**{**entry, "namespaces": tuple(entry["namespaces"])}) for entry in found
        ]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError) as broken:
        raise CredentialsError(f"{path} is not a credentials file: {broken!r}") from broken
    return {account.client_id: account for account in accounts}
