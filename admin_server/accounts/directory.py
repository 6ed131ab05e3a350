"""What may be done with accounts: make, show, change, give a new secret, suspend, remove."""

from __future__ import annotations

import math
import secrets as random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import structlog

from admin_server.accounts import account as rules
from admin_server.accounts import authority
from admin_server.accounts.account import Account
from admin_server.accounts.changes import AccountChange
from admin_server.accounts.limits import GivenLimits, check_limits
from admin_server.accounts.secrets import SecretHasher, new_secret
from admin_server.accounts.table import AccountTable
from admin_server.clock import Clock
from mesh.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unauthenticated,
)
from mesh.identity.caller import Caller, Role
from mesh.redaction import asked_for

MAX_OVERLAP_SECONDS = 30 * 24 * 3600

_log = structlog.stdlib.get_logger(__name__)


class AccountDirectory:
    """The accounts; secrets leave it once, when they are made.

    Every change names its `giver`, who gives no more than it has, by its token and by its
    account as that is now: PermissionDenied beyond that, Unauthenticated if it is suspended.
    """

    def __init__(
        self, table: AccountTable, hasher: SecretHasher, *, now: Clock, reserved: str = ""
    ) -> None:
        """`reserved` is the name that admin calls elements by: no account is made so or ended."""
        self._reserved = reserved
        self._table = table
        self._hasher = hasher
        self._now = now

    async def create(
        self,
        giver: Caller,
        *,
        client_id: str,
        role: Role,
        namespaces: Sequence[str],
        read_namespaces: Sequence[str],
        description: str,
        limits: GivenLimits,
    ) -> tuple[Account, str]:
        """Make an account; answers it and its secret.

        Args:
            client_id: empty for a name made here.
            namespaces: none means `default`, and all for a server.

        Raises:
            InvalidArgument: a field is wrong.
            AlreadyExists: the name is taken.
        """
        now = self._now()
        account = Account(
            client_id=client_id or f"{role.lower()}-{random.token_hex(6)}",
            role=role,
            namespaces=rules.namespaces_for(role, namespaces),
            read_namespaces=tuple(dict.fromkeys(read_namespaces)),
            description=description,
            suspended=False,
            created_at=now,
            created_by=giver.subject,
            rotated_at=now,
            limits=limits,
        )
        rules.check_client_id(account.client_id)
        self._check_free(account.client_id)
        _check(account)
        secret = new_secret()
        secret_hash = await self._hasher.hash(secret)
        async with self._table.alone(self._now) as accounts:
            for who in await _both(accounts, giver):
                authority.check_governs(who, account)
                authority.check_gives(who, limits.whole())
            if await accounts.find(account.client_id) is not None:
                raise AlreadyExists(f"there is an account {account.client_id} already")
            account = await accounts.insert(account, secret_hash)
        _log.info("account made", client_id=account.client_id, role=role, created_by=giver.subject)
        return account, secret

    async def get(self, looker: Caller, client_id: str) -> Account:
        """One account, if it reaches a namespace that `looker` reads.

        Raises:
            NotFound: no such account.
        """
        _require_name(client_id)
        found = await self._table.find(client_id)
        if found is None or not authority.sees(looker, found.account):
            raise _no_such(client_id)
        return found.account

    async def page(self, looker: Caller, after: str, limit: int) -> tuple[list[Account], int]:
        """(at most `limit` accounts by client_id that follow `after`, how many there are).

        Of those that reach a namespace that `looker` reads.
        """
        return await self._table.page(after, limit, namespaces=looker.namespaces_read)

    async def update(
        self, giver: Caller, client_id: str, change: Callable[[Account], Account]
    ) -> Account:
        """Change role, namespaces, description or limits. Its next token has the new values.

        When the change takes something away, the tokens that it has are refused.

        Args:
            change: what the account is to be, from what it is.

        Raises:
            InvalidArgument: a field is wrong.
            NotFound: no such account.
            FailedPrecondition: no ADMIN would be left.
        """
        _require_name(client_id)
        async with self._table.alone(self._now) as accounts:
            before = await _governed(accounts, giver, client_id)
            after = change(before)
            _check(after)
            for who in await _both(accounts, giver):
                authority.check_governs(who, after)
                if after.limits != before.limits:
                    authority.check_gives(who, after.limits.whole())
            await _check_left(accounts, before, after)
            written = await accounts.write(after)
            if rules.takes_away(before, after):
                await accounts.end_tokens(before)
        _log.info("account changed", client_id=client_id, role=written.role, by=giver.subject)
        return written

    async def delete(self, giver: Caller, client_id: str) -> None:
        """Remove an account for good; tokens it has are refused.

        Raises:
            NotFound: no such account.
            FailedPrecondition: no ADMIN would be left, or it is admin's own name.
        """
        _require_name(client_id)
        self._check_free(client_id)
        async with self._table.alone(self._now) as accounts:
            before = await _governed(accounts, giver, client_id)
            await _check_left(accounts, before, None)
            await accounts.delete(client_id)
        _log.info("account removed", client_id=client_id, by=giver.subject)

    async def rotate(
        self, giver: Caller, client_id: str, overlap_seconds: int
    ) -> tuple[Account, str]:
        """Give an account a new secret; answers both. The old one goes on for that long.

        Without an overlap the tokens that it has are refused, too.

        Raises:
            InvalidArgument: overlap_seconds is negative or more than 30 days.
            NotFound: no such account.
        """
        if not 0 <= overlap_seconds <= MAX_OVERLAP_SECONDS:
            raise InvalidArgument(
                f"overlap_seconds is 0 to {MAX_OVERLAP_SECONDS}", field="overlap_seconds"
            )
        _require_name(client_id)
        secret = new_secret()
        secret_hash = await self._hasher.hash(secret)
        overlap = timedelta(seconds=overlap_seconds)
        async with self._table.alone(self._now) as accounts:
            before = await _governed(accounts, giver, client_id)
            old_ends_at = accounts.now + overlap if overlap else None
            account = await accounts.change_secret(client_id, secret_hash, old_ends_at=old_ends_at)
            if old_ends_at is None:
                await accounts.end_tokens(before)
        _log.info(
            "secret rotated",
            client_id=client_id,
            overlap_seconds=overlap_seconds,
            by=giver.subject,
        )
        return account, secret

    async def suspend(self, giver: Caller, client_id: str) -> Account:
        """No more tokens for this account, and those it has are refused. Idempotent.

        Raises:
            NotFound: no such account.
            FailedPrecondition: it is the last ADMIN: nobody could lift the suspension; or it is
                admin's own name.
        """
        _require_name(client_id)
        self._check_free(client_id)
        async with self._table.alone(self._now) as accounts:
            before = await _governed(accounts, giver, client_id)
            await _check_left(accounts, before, replace(before, suspended=True))
            account = await accounts.suspend(client_id)
        _log.info("account suspended", client_id=client_id, by=giver.subject)
        return account

    def _check_free(self, client_id: str) -> None:
        if client_id == self._reserved:
            raise FailedPrecondition(
                f"{client_id} is the name that admin itself calls elements by; take another"
            )

    async def resume(self, giver: Caller, client_id: str) -> Account:
        """Tokens for this account again. Idempotent.

        Raises:
            NotFound: no such account.
        """
        _require_name(client_id)
        async with self._table.alone(self._now) as accounts:
            before = await _governed(accounts, giver, client_id)
            account = await accounts.resume(before) if before.suspended else before
        _log.info("account resumed", client_id=client_id, by=giver.subject)
        return account


async def _governed(accounts: AccountChange, giver: Caller, client_id: str) -> Account:
    """The account, which the giver may change."""
    givers = await _both(accounts, giver)
    account = await accounts.find(client_id)
    if account is None or not all(authority.sees(who, account) for who in givers):
        raise _no_such(client_id)
    for who in givers:
        authority.check_governs(who, account)
    return account


async def _both(accounts: AccountChange, giver: Caller) -> list[Caller]:
    """The giver as its token says, and as its account is now: it has what both have.

    Raises:
        Unauthenticated: it was suspended or deleted meanwhile, so it can't undo that with a
            token that servers still take.
    """
    if await accounts.is_ended(giver.subject):
        raise Unauthenticated(
            f"account {giver.subject} is suspended or deleted", reason="ACCOUNT_SUSPENDED"
        )
    own = await accounts.find(giver.subject)
    ended = None if own is None else own.tokens_after
    # As every server refuses it once it knows.
    if ended is not None and giver.issued_at < math.floor(ended.timestamp()) + 1:
        raise Unauthenticated(
            f"the tokens of account {giver.subject} were ended; get a new one",
            reason="TOKEN_WITHDRAWN",
        )
    return [giver] if own is None else [giver, own.as_caller()]


async def _check_left(accounts: AccountChange, before: Account, after: Account | None) -> None:
    """Check that an ADMIN is left who may log in, and one of all namespaces if there was one.

    Raises:
        FailedPrecondition: none would be.
    """
    left = [one for one in await accounts.admins() if one.client_id != before.client_id]
    left += [] if after is None else [after]
    if before.governs and not any(one.governs for one in left):
        raise _last_admin(before, "ADMIN that is not suspended")
    if before.governs_all and not any(one.governs_all for one in left):
        raise _last_admin(before, "ADMIN of all namespaces that is not suspended")


def _last_admin(account: Account, what: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"{account.client_id} is the last {what}; make another one first", reason="LAST_ADMIN"
    )


def _check(account: Account) -> None:
    rules.check_role(account.role)
    rules.check_namespaces(account.namespaces, account.read_namespaces)
    rules.check_description(account.description)
    check_limits(account.limits)


def _require_name(client_id: str) -> None:
    if not client_id:
        raise InvalidArgument("client_id is missing", field="client_id")
    if not rules.is_client_id(client_id):
        raise _no_such(client_id)


def _no_such(client_id: str) -> NotFound:
    return NotFound(f"there is no account {asked_for(client_id, rules.CLIENT_ID)}")
