"""The access token: issued at its first use, renewed before it ends, by one task at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from artstore_client.errors import ArtStoreError

# A token is renewed when a fifth of its life, or this much, is left, whichever is less.
RENEW_AT_SHARE = 0.2
RENEW_AT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token and the seconds it lives from now."""

    access_token: str
    expires_in_seconds: float


class TokenCache:
    """Gives a token that is good now.

    Args:
        issue: asks admin for a new one.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        issue: Callable[[], Awaitable[IssuedToken]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issue = issue
        self._clock = clock
        self._lock = asyncio.Lock()
        self._token = ""
        self._renew_at = 0.0
        self._expires_at = 0.0

    async def get(self) -> str:
        """The token; tasks that come while one is issued wait for that one.

        When admin can't be asked, a token that is still good is given all the same.

        Raises:
            ArtStoreError: there is no good token, and none was issued.
        """
        if self._clock() < self._renew_at:
            return self._token
        async with self._lock:
            if self._clock() < self._renew_at:
                return self._token
            asked_at = self._clock()
            try:
                issued = await self._issue()
            except ArtStoreError:
                if self._token and self._clock() < self._expires_at:
                    return self._token
                raise
            self._keep(issued, asked_at)
            return self._token

    def refuse(self, token: str) -> None:
        """Tell that a server did not take `token`: the next `get` issues another."""
        if token == self._token:
            self._token = ""
            self._renew_at = self._expires_at = 0.0

    def _keep(self, issued: IssuedToken, asked_at: float) -> None:
        life = issued.expires_in_seconds
        self._token = issued.access_token
        self._expires_at = asked_at + life
        self._renew_at = asked_at + life - min(RENEW_AT_SECONDS, life * RENEW_AT_SHARE)


class FixedToken:
    """A token that the caller brought; nobody can renew it."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def get(self) -> str:
        """The token."""
        return self._token

    def refuse(self, token: str) -> None:
        """Nothing can be done about it."""
