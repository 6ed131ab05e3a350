"""What `artstore account` prints, and where a new secret goes."""

from __future__ import annotations

import sys
from pathlib import Path

from artstore.v1 import accounts_pb2
from artstore.v1.accounts_pb2 import ServiceAccount
from artstore_client.cli.account_file import AccountFile
from artstore_client.cli.as_json import as_json, enum_word
from artstore_client.cli.files import print_description
from artstore_client.cli.output import (
    human_time,
    print_json,
    print_line,
    print_note,
    print_table,
)


def hand_over(
    account: ServiceAccount,
    secret: str,
    file: AccountFile | None,
    path: Path | None,
    *,
    json: bool,
) -> None:
    """Give a new secret to whoever runs the command, in one place and no other."""
    if file is not None:
        try:
            file.write(account.client_id, secret)
        except OSError:
            print_note(
                f"{account.client_id} has a secret that nobody knows:"
                f" `artstore account rotate {account.client_id}` makes another"
            )
            raise
        secret = ""
    if json:
        print_json(as_json(account) | ({"client_secret": secret} if secret else {}))
    elif secret and sys.stdout.isatty():
        print_account(account, json=False)
        print_line(f"{'client_secret':20} {secret}")
        print_note("the secret is shown this once; `--save FILE` shows it never")
    elif secret:
        print_note(f"account {account.client_id}, {_role(account)}")
        print_line(secret)
    else:
        print_line(f"{account.client_id}  {_role(account)}  secret in {path}")


def print_change(account: ServiceAccount, done: str, *, json: bool) -> None:
    """One line, or one document."""
    if json:
        print_json(account)
    else:
        print_line(f"{account.client_id}  {done}")


def print_account(account: ServiceAccount, *, json: bool) -> None:
    """All that is known of it."""
    if json:
        print_json(account)
    else:
        print_description(account)


def print_accounts(accounts: list[ServiceAccount]) -> None:
    """A table."""
    print_table(
        ("name", "role", "namespaces", "reads besides", "state", "created", "description"),
        [
            (
                account.client_id,
                _role(account),
                ", ".join(account.namespaces) or "default",
                ", ".join(account.read_namespaces),
                "suspended" if account.suspended else "active",
                human_time(account.created_at),
                account.description,
            )
            for account in accounts
        ],
    )


def _role(account: ServiceAccount) -> str:
    return enum_word(accounts_pb2.Role.DESCRIPTOR, account.role)
