"""TokenService."""

from __future__ import annotations

from typing import Any

import orjson

from admin_server.accounts.login import Login
from admin_server.accounts.refused import RefusedAccounts
from admin_server.keys.issuer import TokenIssuer
from admin_server.keys.rotation import KeyRotation
from admin_server.rpc.times import timestamp
from artstore.v1 import tokens_pb2
from mesh.calls.address import address_of
from mesh.errors import InvalidArgument, Unavailable
from mesh.identity.tokens import AUDIENCE, KeySet, audience_of, is_audience
from mesh.paging import AskedPage


class TokenServicer:
    """Gives tokens to those who prove who they are, and keys to everybody."""

    def __init__(
        self,
        login: Login,
        issuer: TokenIssuer,
        rotation: KeyRotation,
        keys: KeySet,
        refused: RefusedAccounts,
    ) -> None:
        self._login = login
        self._issuer = issuer
        self._rotation = rotation
        self._keys = keys
        self._refused = refused

    async def IssueToken(
        self, request: tokens_pb2.IssueTokenRequest, context: Any
    ) -> tokens_pb2.IssueTokenResponse:
        """Check the credentials, sign a token."""
        if request.audience and not is_audience(request.audience):
            raise InvalidArgument(
                f"audience is {AUDIENCE}, or {audience_of('se-01')} for that element alone",
                field="audience",
            )
        account = await self._login.account_of(
            request.client_id, request.client_secret, address=address_of(context.peer())
        )
        issued = self._issuer.issue(account, request.audience or AUDIENCE)
        return tokens_pb2.IssueTokenResponse(
            access_token=issued.access_token,
            token_type="Bearer",
            expires_in_seconds=issued.expires_in_seconds,
        )

    async def GetJwks(
        self, request: tokens_pb2.GetJwksRequest, context: Any
    ) -> tokens_pb2.GetJwksResponse:
        """The keys this server verifies with itself, from memory."""
        if not self._keys:
            raise Unavailable("no signing key yet: admin's database is not answering")
        return tokens_pb2.GetJwksResponse(jwks_json=orjson.dumps(self._keys.jwks).decode())

    async def RotateKeys(
        self, request: tokens_pb2.RotateKeysRequest, context: Any
    ) -> tokens_pb2.RotateKeysResponse:
        """Sign with a new key."""
        key, old_end = await self._rotation.rotate()
        await self._keys.refresh()
        return tokens_pb2.RotateKeysResponse(key_id=key.kid, old_key_expires_at=timestamp(old_end))

    async def ListSuspensions(
        self, request: tokens_pb2.ListSuspensionsRequest, context: Any
    ) -> tokens_pb2.ListSuspensionsResponse:
        """List accounts whose tokens are refused, by name."""
        asked = AskedPage.of(request, ("suspensions",), str)
        after = asked.after[0] if asked.after else ""
        found, total, listed_at = await self._refused.page(after, asked.size + 1)
        rows, token = asked.page(found, lambda row: (row.client_id,))
        return tokens_pb2.ListSuspensionsResponse(
            suspensions=[
                tokens_pb2.Suspension(
                    client_id=row.client_id,
                    suspended_at=timestamp(row.suspended_at),
                    ends_at=None if row.ends_at is None else timestamp(row.ends_at),
                )
                for row in rows
            ],
            next_page_token=token,
            total_size=total,
            listed_at=timestamp(listed_at),
        )
