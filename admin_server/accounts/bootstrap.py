"""The bootstrap accounts: a file, or its text, of those made at start if they are missing.

    {"accounts": [{"client_id": "admin", "client_secret": "...", "role": "ADMIN",
                   "namespaces": ["*"], "first": true}]}

An account that is there is left as it is, so a rotated secret stays rotated; one that an ADMIN has
deleted is not made again. `first` marks
the account of whoever set the mesh up; it must be an ADMIN. A server's account that is named after
a storage element (`storage-se-01`), or names one as `storage_element_id`, is bound to it: no other
reports for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import structlog
from pydantic import BaseModel, Field, SecretStr, ValidationError

from admin_server.accounts import account as rules
from admin_server.accounts.account import Account, Credentials
from admin_server.accounts.bindings import Bindings, element_named_in
from admin_server.accounts.secrets import MAX_SECRET_CHARACTERS, SecretHasher
from admin_server.accounts.table import AccountTable
from admin_server.clock import Clock
from mesh.errors import ArtStoreError, InvalidArgument
from mesh.identity.caller import Role
from mesh.postgres.database import Database

CREATED_BY = "bootstrap"
MIN_SECRET_CHARACTERS = 8

_log = structlog.stdlib.get_logger(__name__)


class BootstrapAccount(BaseModel):
    """One account of the file."""

    client_id: str
    client_secret: Annotated[
        SecretStr, Field(min_length=MIN_SECRET_CHARACTERS, max_length=MAX_SECRET_CHARACTERS)
    ]
    role: Role
    namespaces: list[str] = []
    read_namespaces: list[str] = []
    description: str = ""
    storage_element_id: str = ""
    first: bool = False

    @property
    def element(self) -> str:
        """The storage element that it reports for; empty for none."""
        named = element_named_in(self.client_id) if self.role is Role.SERVICE else ""
        return self.storage_element_id or named


class BootstrapFile(BaseModel):
    """The whole file."""

    accounts: list[BootstrapAccount]


def read_bootstrap(path: Path | None, text: str) -> list[BootstrapAccount]:
    """The accounts in the file if there is one, else in the text of the setting.

    Raises:
        InvalidArgument: as `read_bootstrap_file`.
    """
    if path is not None:
        return read_bootstrap_file(path)
    return read_bootstrap_text(text, "ARTSTORE_BOOTSTRAP_ACCOUNTS") if text else []


def read_bootstrap_file(path: Path) -> list[BootstrapAccount]:
    """The accounts in the file; others being able to read it is logged as a warning.

    Raises:
        InvalidArgument: it cannot be read or is wrong; the message says where, without secrets.
    """
    try:
        text = path.read_bytes()
        if path.stat().st_mode & 0o077:
            _log.warning("bootstrap file is readable by others: chmod 600 it", path=str(path))
    except OSError as exc:
        raise InvalidArgument(f"ARTSTORE_BOOTSTRAP_FILE={path}: {exc.strerror}") from exc
    return read_bootstrap_text(text, f"ARTSTORE_BOOTSTRAP_FILE={path}")


def read_bootstrap_text(text: str | bytes, source: str) -> list[BootstrapAccount]:
    """The accounts in the JSON text.

    Args:
        source: what messages call it.

    Raises:
        InvalidArgument: it is wrong; the message says where, without secrets.
    """
    try:
        accounts = BootstrapFile.model_validate_json(text).accounts
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidArgument(f"{source}: {where}: {first['msg']}") from None
    for account in accounts:
        try:
            _check(account)
        except ArtStoreError as exc:
            raise InvalidArgument(f"{source}: {account.client_id!r}: {exc.message}") from exc
    return accounts


def _check(account: BootstrapAccount) -> None:
    rules.check_client_id(account.client_id)
    rules.check_role(account.role)
    rules.check_namespaces(account.namespaces, account.read_namespaces)
    rules.check_description(account.description)
    if account.storage_element_id and account.role is not Role.SERVICE:
        raise InvalidArgument("the account of a storage element must be a SERVICE", field="role")
    if account.first and account.role is not Role.ADMIN:
        raise InvalidArgument("the first account must be an ADMIN", field="role")


async def fill(
    accounts: list[BootstrapAccount], database: Database, hasher: SecretHasher, *, now: Clock
) -> None:
    """Make those accounts that are not there, and bind those of storage elements.

    Raises:
        Unavailable: the database is down.
    """
    table = AccountTable(database)
    await make_missing(accounts, table, hasher, now=now)
    there = [one for one in accounts if await table.find(one.client_id) is not None]
    await bind_elements(there, Bindings(database))


async def make_missing(
    accounts: list[BootstrapAccount], table: AccountTable, hasher: SecretHasher, *, now: Clock
) -> list[str]:
    """Make those accounts that are not there; answers their names.

    Raises:
        Unavailable: the database is down.
    """
    made: list[str] = []
    for wanted in accounts:
        known = await table.find(wanted.client_id)
        if known is not None:
            await _compare(wanted, known, hasher)
            continue
        created_at = now()
        account = Account(
            client_id=wanted.client_id,
            role=wanted.role,
            namespaces=rules.namespaces_for(wanted.role, wanted.namespaces),
            read_namespaces=tuple(dict.fromkeys(wanted.read_namespaces)),
            description=wanted.description,
            suspended=False,
            created_at=created_at,
            created_by=CREATED_BY,
            rotated_at=created_at,
        )
        secret_hash = await hasher.hash(wanted.client_secret.get_secret_value())
        async with table.alone(now) as change:
            if await change.was_deleted(account.client_id):
                _log.warning(
                    "the bootstrap file's account was deleted by an ADMIN and is not made again:"
                    " take it out of the file, or have an ADMIN make it (artstore account create);"
                    " make reset begins anew",
                    client_id=account.client_id,
                )
            elif await change.find(account.client_id) is None:
                await change.insert(account, secret_hash)
                made.append(account.client_id)
    if made:
        _log.info("accounts made from the bootstrap file", client_ids=made)
    return made


async def bind_elements(accounts: list[BootstrapAccount], bindings: Bindings) -> None:
    """Bind the accounts of storage elements, where neither is bound yet.

    Raises:
        Unavailable: the database is down.
    """
    for account in accounts:
        if account.element and not await bindings.bind(account.client_id, account.element):
            _log.warning(
                "another account reports for the storage element; the bootstrap file's does not",
                client_id=account.client_id,
                storage_element_id=account.element,
            )


async def _compare(wanted: BootstrapAccount, known: Credentials, hasher: SecretHasher) -> None:
    """Say so if the file's secret is not the account's: whoever uses it will be refused."""
    secret = wanted.client_secret.get_secret_value()
    for secret_hash in (known.secret_hash, known.previous_secret_hash):
        if secret_hash is not None and await hasher.matches(secret_hash, secret):
            return
    _log.warning(
        "the account has another secret than the bootstrap file; the account's stays",
        client_id=wanted.client_id,
        rotated_at=known.account.rotated_at,
    )
