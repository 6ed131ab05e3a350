"""Makes access tokens."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from admin_server.accounts.account import Account
from admin_server.clock import Clock
from admin_server.keys.rotation import KeyRotation
from mesh.identity.tokens import (
    AUDIENCE,
    CLAIM_ADMIN,
    CLAIM_LIMITS,
    CLAIM_READ,
    CLAIM_ROLE,
    CLAIM_WRITE,
    ISSUER,
    TOKEN_TYPE,
)


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A signed access token and the seconds it lives."""

    access_token: str = field(repr=False)
    expires_in_seconds: int


class TokenIssuer:
    """Signs tokens with the key of the moment.

    Args:
        keys: says which key that is.
        lifetime_seconds: how long a token lives.
        now: clock.
    """

    def __init__(self, keys: KeyRotation, *, lifetime_seconds: int, now: Clock) -> None:
        self._keys = keys
        self._lifetime_seconds = lifetime_seconds
        self._now = now

    def issue(
        self, account: Account, audience: str = AUDIENCE, *, for_admin: bool = False
    ) -> IssuedToken:
        """A token for `account`, whose secret the caller has checked.

        Args:
            audience: who takes it, as `mesh.identity.tokens` names them.
            for_admin: admin calls with it itself.

        Raises:
            Unavailable: there is no signing key yet.
        """
        key = self._keys.signer()
        issued_at = int(self._now().timestamp())
        if account.tokens_after is not None:
            # In the second in which earlier ones were ended: else it would be one of them.
            issued_at = max(issued_at, int(account.tokens_after.timestamp()) + 1)
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": audience,
            "sub": account.client_id,
            CLAIM_ROLE: account.role.value,
            CLAIM_READ: list(account.readable),
            CLAIM_WRITE: list(account.writable),
            "iat": issued_at,
            "nbf": issued_at,
            "exp": issued_at + self._lifetime_seconds,
            "jti": uuid.uuid4().hex,
        }
        if limits := account.limits.whole().claim():
            claims[CLAIM_LIMITS] = limits
        if for_admin:
            claims[CLAIM_ADMIN] = True
        return IssuedToken(key.sign(claims, typ=TOKEN_TYPE), self._lifetime_seconds)
