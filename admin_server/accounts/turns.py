"""Logins that have to be looked at, one by one for each account."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mesh.concurrency.keyed_locks import KeyedLocks
from mesh.errors import ResourceExhausted

MAX_SECRETS_AS_ONE = 64
MAX_WAITING = 512
RETRY_SECONDS = 2.0


class LoginTurns:
    """Who attacks one account holds up nobody who logs in as another.

    Args:
        as_one: with so many different secrets somebody may wait as one account.
        in_all: so many may wait at all.
    """

    def __init__(self, *, as_one: int = MAX_SECRETS_AS_ONE, in_all: int = MAX_WAITING) -> None:
        self._as_one = as_one
        self._in_all = in_all
        self._locks = KeyedLocks()
        # client_id -> secret -> how many wait with it.
        self._waiting: dict[str, Counter[str]] = {}
        self._count = 0

    @asynccontextmanager
    async def of(self, client_id: str, secret: str) -> AsyncIterator[None]:
        """The turn of one login.

        Raises:
            ResourceExhausted: too many wait already.
        """
        secrets = self._waiting.get(client_id, Counter())
        another = secret not in secrets and len(secrets) >= self._as_one
        if another or self._count >= self._in_all:
            raise too_many_logins()
        self._waiting[client_id] = secrets
        secrets[secret] += 1
        self._count += 1
        try:
            async with self._locks.hold(client_id):
                yield
        finally:
            self._count -= 1
            secrets[secret] -= 1
            if not secrets[secret]:
                del secrets[secret]
            if not secrets:
                del self._waiting[client_id]


def too_many_logins() -> ResourceExhausted:
    """What is said when this one was not even looked at."""
    return ResourceExhausted(
        f"too many logins at the same time; try again in {RETRY_SECONDS:.0f} s",
        retry_after_seconds=RETRY_SECONDS,
        reason="LOGINS_BUSY",
    )
