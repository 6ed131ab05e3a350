"""What may be done with accounts: make, show, change, give a new secret, suspend, remove."""

from __future__ import annotations

import secrets as random
from collections.abc import Sequence
from datetime import timedelta

import structlog

from admin_server.accounts import account as rules
from admin_server.accounts.account import Account
from admin_server.accounts.secrets import SecretHasher, new_secret
from admin_server.accounts.table import AccountTable
from admin_server.clock import Clock
from mesh.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from mesh.identity.caller import Role

MAX_OVERLAP_SECONDS = 30 * 24 * 3600

_log = structlog.stdlib.get_logger(__name__)


class AccountDirectory:
    """The accounts; secrets leave it once, when they are made."""

    def __init__(self, table: AccountTable, hasher: SecretHasher, *, now: Clock) -> None:
        self._table = table
        self._hasher = hasher
        self._now = now

    async def create(
        self,
        *,
        client_id: str,
        role: Role,
        namespaces: Sequence[str],
        read_namespaces: Sequence[str],
        description: str,
        created_by: str,
    ) -> tuple[Account, str]:
        """Make an account; answers it and its secret.

        Args:
            client_id: empty for a name made here.
            namespaces: none means `default`, and all for a server.

        Raises:
            InvalidArgument: a field is wrong.
            AlreadyExists: the name is taken.
        """
        client_id = client_id or f"{role.lower()}-{random.token_hex(6)}"
        rules.check_client_id(client_id)
        rules.check_role(role)
        rules.check_namespaces(namespaces, read_namespaces)
        rules.check_description(description)
        now = self._now()
        account = Account(
            client_id=client_id,
            role=role,
            namespaces=rules.namespaces_for(role, namespaces),
            read_namespaces=tuple(dict.fromkeys(read_namespaces)),
            description=description,
            suspended=False,
            created_at=now,
            created_by=created_by,
            rotated_at=now,
        )
        secret = new_secret()
        if not await self._table.insert(account, await self._hasher.hash(secret)):
            raise AlreadyExists(f"there is an account {client_id} already")
        _log.info("account made", client_id=client_id, role=role, created_by=created_by)
        return account, secret

    async def get(self, client_id: str) -> Account:
        """One account.

        Raises:
            NotFound: no such account.
        """
        _require_name(client_id)
        found = await self._table.find(client_id)
        if found is None:
            raise _no_such(client_id)
        return found.account

    async def update(
        self,
        client_id: str,
        *,
        role: Role | None = None,
        namespaces: Sequence[str] | None = None,
        read_namespaces: Sequence[str] | None = None,
        description: str | None = None,
    ) -> Account:
        """Change an account; None leaves a field. Its next token has the new values.

        Raises:
            InvalidArgument: a field is wrong.
            NotFound: no such account.
            FailedPrecondition: no ADMIN would be left.
        """
        before = await self.get(client_id)
        if role is not None:
            rules.check_role(role)
        rules.check_namespaces(
            before.namespaces if namespaces is None else namespaces,
            before.read_namespaces if read_namespaces is None else read_namespaces,
        )
        rules.check_description(description or "")
        account = await self._table.update(
            client_id,
            role=role,
            namespaces=None if namespaces is None else tuple(dict.fromkeys(namespaces)),
            read_namespaces=(
                None if read_namespaces is None else tuple(dict.fromkeys(read_namespaces))
            ),
            description=description,
        )
        if account is None:
            raise _no_such(client_id)
        _log.info("account changed", client_id=client_id, role=account.role)
        return account

    async def delete(self, client_id: str) -> None:
        """Remove an account for good; tokens it has live out.

        Raises:
            NotFound: no such account.
            FailedPrecondition: no ADMIN would be left.
        """
        _require_name(client_id)
        if not await self._table.delete(client_id):
            raise _no_such(client_id)
        _log.info("account removed", client_id=client_id)

    async def page(self, after: str, limit: int) -> tuple[list[Account], int]:
        """(at most `limit` accounts by client_id that follow `after`, how many there are)."""
        return await self._table.page(after, limit)

    async def rotate(self, client_id: str, overlap_seconds: int) -> tuple[Account, str]:
        """Give an account a new secret; answers both. The old one goes on for that long.

        Raises:
            InvalidArgument: overlap_seconds is negative or more than 30 days.
            NotFound: no such account.
        """
        if not 0 <= overlap_seconds <= MAX_OVERLAP_SECONDS:
            raise InvalidArgument(
                f"overlap_seconds is 0 to {MAX_OVERLAP_SECONDS}", field="overlap_seconds"
            )
        _require_name(client_id)
        now = self._now()
        secret = new_secret()
        account = await self._table.change_secret(
            client_id,
            await self._hasher.hash(secret),
            rotated_at=now,
            previous_valid_until=(
                now + timedelta(seconds=overlap_seconds) if overlap_seconds else None
            ),
        )
        if account is None:
            raise _no_such(client_id)
        _log.info("secret rotated", client_id=client_id, overlap_seconds=overlap_seconds)
        return account, secret

    async def suspend(self, client_id: str) -> Account:
        """No more tokens for this account. Idempotent.

        Raises:
            NotFound: no such account.
            FailedPrecondition: it is the last ADMIN: nobody could lift the suspension.
        """
        account = await self._set_suspended(client_id, suspended=True)
        if not account.suspended:
            raise FailedPrecondition(
                f"{client_id} is the last ADMIN that is not suspended", reason="LAST_ADMIN"
            )
        return account

    async def resume(self, client_id: str) -> Account:
        """Tokens for this account again. Idempotent.

        Raises:
            NotFound: no such account.
        """
        return await self._set_suspended(client_id, suspended=False)

    async def _set_suspended(self, client_id: str, *, suspended: bool) -> Account:
        _require_name(client_id)
        account = await self._table.set_suspended(client_id, suspended)
        if account is None:
            raise _no_such(client_id)
        _log.info("account changed", client_id=client_id, suspended=account.suspended)
        return account


def _require_name(client_id: str) -> None:
    if not client_id:
        raise InvalidArgument("client_id is missing", field="client_id")
    if not rules.is_client_id(client_id):
        raise _no_such(client_id)


def _no_such(client_id: str) -> NotFound:
    # Log lines leave out what is quoted; what could be the name of an account they may tell.
    told = client_id if rules.is_client_id(client_id) else repr(client_id[:64])
    return NotFound(f"there is no account {told}")
