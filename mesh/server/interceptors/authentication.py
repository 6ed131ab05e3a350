"""Who calls: the bearer token, and the token of the user on whose behalf a server calls."""

from __future__ import annotations

from typing import Any

from mesh.contract import AUTHORIZATION_KEY, CALLER_KEY, TICKET_KEY, UPLOAD_TOKEN_KEY
from mesh.errors import ArtStoreError, Unauthenticated
from mesh.identity.caller import (
    ANONYMOUS,
    Caller,
    Role,
    set_current,
)
from mesh.identity.roles import roles_for
from mesh.identity.tokens import TokenVerifier
from mesh.server.interceptors.wrapping import Call, Proceed

_MAY_SPEAK_FOR_OTHERS = frozenset({Role.SERVICE, Role.ADMIN})


# What says who calls: with two of one, one server might believe the first and another the last.
_ONCE = (AUTHORIZATION_KEY, CALLER_KEY, UPLOAD_TOKEN_KEY, TICKET_KEY)


class Authentication:
    """Verifies `authorization: Bearer ...` and sets the current caller.

    With a bearer of role SERVICE or ADMIN and metadata `artstore-caller`, that token's holder
    is the caller (created_by; namespaces, as far as the bearer reaches) and the bearer the peer.
    A token of a suspended account is refused, whichever of the two it is.
    """

    def __init__(self, verifier: TokenVerifier) -> None:
        self._verifier = verifier

    async def __call__(self, call: Call, request: Any, *, proceed: Proceed) -> Any:
        """Authenticate one call."""
        metadata = call.metadata
        if call.repeated.intersection(_ONCE):
            raise Unauthenticated(
                f"metadata {' and '.join(_ONCE)} are sent once each at most",
                reason="TOKEN_MALFORMED",
            )
        peer = await self._bearer(call, metadata.get(AUTHORIZATION_KEY))
        caller = peer
        # Also a call that is refused from here on is noted with its account.
        call.peer, call.caller = peer, caller
        if Role.ANONYMOUS not in roles_for(call.method):
            self._verifier.suspensions.require_good(peer)
        on_behalf = metadata.get(CALLER_KEY)
        if on_behalf and peer.role in _MAY_SPEAK_FOR_OTHERS:
            caller = (await self._verify(_bearer_token(on_behalf))).within(peer)
            call.caller = caller
            self._verifier.suspensions.require_good(caller)
        call.peer, call.caller = peer, caller
        set_current(caller, metadata.get(UPLOAD_TOKEN_KEY, ""), metadata.get(TICKET_KEY, ""))
        return await proceed(call, request)

    async def _bearer(self, call: Call, header: Any) -> Caller:
        anonymous_may = Role.ANONYMOUS in roles_for(call.method)
        if not header:
            if anonymous_may:
                return ANONYMOUS
            raise Unauthenticated(
                "no access token: send metadata `authorization: Bearer <token>`",
                reason="TOKEN_MISSING",
            )
        if anonymous_may:
            # Health and login must work for whoever still holds an outdated token.
            try:
                found = await self._verify(_bearer_token(header))
                self._verifier.suspensions.require_good(found)
                return found
            except ArtStoreError:
                return ANONYMOUS
        if not header[:7].lower() == "bearer ":
            raise Unauthenticated(
                "authorization must be `Bearer <token>`", reason="TOKEN_MALFORMED"
            )
        return await self._verify(_bearer_token(header))

    async def _verify(self, raw: str) -> Caller:
        return self._verifier.cached(raw) or await self._verifier.verify(raw)


def _bearer_token(header: str) -> str:
    return header[7:].strip() if header[:7].lower() == "bearer " else header
