"""Client credentials: whether they are right, without telling more than that."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time

import structlog

from admin_server.accounts.account import Account, Credentials, is_client_id
from admin_server.accounts.attempts import WrongAttempts
from admin_server.accounts.secrets import MAX_SECRET_CHARACTERS, SecretHasher
from admin_server.accounts.table import AccountTable
from admin_server.clock import Clock
from mesh.concurrency.keyed_locks import KeyedLocks
from mesh.errors import Unauthenticated

REMEMBERED_SECONDS = 600.0
MAX_REMEMBERED = 1024

_log = structlog.stdlib.get_logger(__name__)


class Login:
    """Checks secrets against the table; only the work of Argon2 is ever saved.

    A secret that was right is remembered for ten minutes, as a keyed digest bound to the hash
    it matched: each login reads the account's row, so a rotation or a suspension holds at once.
    """

    def __init__(
        self, table: AccountTable, hasher: SecretHasher, attempts: WrongAttempts, *, now: Clock
    ) -> None:
        self._table = table
        self._hasher = hasher
        self._attempts = attempts
        self._now = now
        self._remembered: dict[bytes, float] = {}
        self._turns = KeyedLocks()
        self._digest_key = secrets.token_bytes(32)

    async def account_of(self, client_id: str, client_secret: str) -> Account:
        """The account that these credentials are of.

        Raises:
            Unauthenticated: wrong, or the account is suspended (told to the right secret only).
            ResourceExhausted: too many wrong tries as this account.
            Unavailable: the database is down, or too many log in at once.
        """
        tracked = client_id[:MAX_SECRET_CHARACTERS]
        self._attempts.check(tracked)
        credentials = await self._table.find(client_id) if is_client_id(client_id) else None
        if credentials is None or not self._is_remembered(credentials, client_secret):
            # One by one for each account: of many wrong tries at once no more than the allowed
            # are looked at, and of many right ones a single one costs Argon2.
            async with self._turns.hold(tracked):
                self._attempts.check(tracked)
                right = await self._is_right(credentials, client_secret)
            if not right or credentials is None:
                self._attempts.record(tracked)
                _log.warning("wrong login", client_id=tracked)
                raise Unauthenticated(
                    "client_id or client_secret is wrong", reason="WRONG_CREDENTIALS"
                )
            # Argon2 takes its time, and its turn: what was ended meanwhile gives no token.
            credentials = await self._table.find(client_id)
            if credentials is None or not self._is_remembered(credentials, client_secret):
                raise Unauthenticated(
                    "the account or its secret was changed at this moment",
                    reason="WRONG_CREDENTIALS",
                )
        self._attempts.forget(tracked)
        if credentials.account.suspended:
            raise Unauthenticated("the account is suspended", reason="ACCOUNT_SUSPENDED")
        return credentials.account

    async def _is_right(self, credentials: Credentials | None, secret: str) -> bool:
        if credentials is not None and self._is_remembered(credentials, secret):
            return True
        # Always two comparisons before a no: neither an account nor an overlap shows in time.
        for secret_hash in (None, None) if credentials is None else self._good_hashes(credentials):
            matched = await self._hasher.matches(secret_hash, secret[:MAX_SECRET_CHARACTERS])
            if matched and credentials is not None and len(secret) <= MAX_SECRET_CHARACTERS:
                self._remember(self._digest(credentials, secret_hash, secret))
                return True
        return False

    def _good_hashes(self, credentials: Credentials) -> tuple[str, str | None]:
        until = credentials.account.old_secret_ends_at
        overlaps = until is not None and self._now() < until
        return credentials.secret_hash, credentials.previous_secret_hash if overlaps else None

    def _digest(self, credentials: Credentials, secret_hash: str | None, secret: str) -> bytes:
        text = "\0".join((credentials.account.client_id, secret_hash or "", secret))
        return hmac.digest(self._digest_key, text.encode(), hashlib.sha256)

    def _is_remembered(self, credentials: Credentials, secret: str) -> bool:
        now = time.monotonic()
        return any(
            self._remembered.get(self._digest(credentials, secret_hash, secret), 0.0) > now
            for secret_hash in self._good_hashes(credentials)
            if secret_hash is not None
        )

    def _remember(self, digest: bytes) -> None:
        while len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[digest] = time.monotonic() + REMEMBERED_SECONDS
