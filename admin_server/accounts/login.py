"""Client credentials: whether they are right, without telling more than that."""

from __future__ import annotations

import time

import structlog

from admin_server.accounts.account import Account, Credentials, is_client_id
from admin_server.accounts.attempts import WrongLogins
from admin_server.accounts.secrets import MAX_SECRET_CHARACTERS, SecretHasher
from admin_server.accounts.table import AccountTable
from admin_server.accounts.turns import LoginTurns
from admin_server.clock import Clock
from mesh.errors import ResourceExhausted, Unauthenticated

_SHOWN_CHARACTERS = 64
# Who is refused unseen and comes again at once would take the place of those who wait.
_UNSEEN_SECONDS = 1.0

_log = structlog.stdlib.get_logger(__name__)


class Login:
    """Checks secrets against the table; only the work of Argon2 is ever saved.

    A secret that is known to be right is let in before anything is counted or waited for. All
    others are looked at one by one for each account, whether there is such an account or not.
    """

    def __init__(
        self, table: AccountTable, hasher: SecretHasher, wrong: WrongLogins, *, now: Clock
    ) -> None:
        self._table = table
        self._hasher = hasher
        self._wrong = wrong
        self._now = now
        self._turns = LoginTurns()

    async def account_of(self, client_id: str, client_secret: str, *, address: str = "") -> Account:
        """The account that these credentials are of.

        Args:
            address: of whoever sent them.

        Raises:
            Unauthenticated: wrong, or the account is suspended (told to the right secret only).
            ResourceExhausted: too many log in at once, with a secret that is not known to be
                right or is wrong.
            Unavailable: the database is down.
        """
        asked_at = time.monotonic()
        # As what no account is called, all are counted together.
        tracked = client_id if is_client_id(client_id) else ""
        try:
            account = await self._account_of(client_id, client_secret)
        except Unauthenticated:
            self._wrong.record(tracked, address)
            _log.warning("wrong login", client_id=client_id[:_SHOWN_CHARACTERS], address=address)
            await self._answer_at(asked_at + self._wrong.seconds(tracked, address))
            raise
        except ResourceExhausted:
            self._wrong.record_unseen(address)
            seconds = max(_UNSEEN_SECONDS, self._wrong.seconds(tracked, address))
            await self._answer_at(asked_at + seconds)
            raise
        self._wrong.forget(tracked)
        if account.suspended:
            raise Unauthenticated("the account is suspended", reason="ACCOUNT_SUSPENDED")
        return account

    async def _answer_at(self, moment: float) -> None:
        await self._wrong.hold_back(max(0.0, moment - time.monotonic()))

    async def _account_of(self, client_id: str, secret: str) -> Account:
        if not is_client_id(client_id) or not 0 < len(secret) <= MAX_SECRET_CHARACTERS:
            raise _wrong_credentials()
        credentials = await self._table.find(client_id)
        if credentials is not None and self._is_right(credentials, secret):
            return credentials.account
        async with self._turns.of(client_id, secret):
            # Of many right ones at a time the first alone costs Argon2.
            if not await self._turns_out_right(credentials, secret):
                raise _wrong_credentials()
        # Argon2 takes its time, and its turn: what was ended meanwhile gives no token.
        credentials = await self._table.find(client_id)
        if credentials is None or not self._is_right(credentials, secret):
            raise Unauthenticated(
                "the account or its secret was changed at this moment", reason="WRONG_CREDENTIALS"
            )
        return credentials.account

    async def _turns_out_right(self, credentials: Credentials | None, secret: str) -> bool:
        if credentials is None or self._is_right(credentials, secret) is False:
            # An account that is not there, or whose secret is known, takes no less time.
            await self._hasher.pretend()
            return False
        for secret_hash in self._good_hashes(credentials):
            if await self._hasher.matches(secret_hash, secret):
                return True
        return False

    def _is_right(self, credentials: Credentials, secret: str) -> bool | None:
        """None: it is to be found out."""
        remembered = self._hasher.remembered
        verdicts = {remembered.matches(one, secret) for one in self._good_hashes(credentials)}
        return True if True in verdicts else None if None in verdicts else False

    def _good_hashes(self, credentials: Credentials) -> list[str]:
        until, previous = credentials.account.old_secret_ends_at, credentials.previous_secret_hash
        overlaps = until is not None and self._now() < until
        return [credentials.secret_hash, *([previous] if overlaps and previous else [])]


def _wrong_credentials() -> Unauthenticated:
    return Unauthenticated("client_id or client_secret is wrong", reason="WRONG_CREDENTIALS")
