"""A call goes on as long as its caller may make calls: not beyond a suspension, and if it is an
endless stream (`mesh.identity.roles.ENDLESS`) not beyond its token.
"""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from mesh.errors import Unauthenticated
from mesh.identity.caller import ANONYMOUS
from mesh.identity.expiry import Expiry, current_expiry
from mesh.identity.roles import ENDLESS
from mesh.identity.tokens import TokenVerifier
from mesh.server.interceptors.held import Held
from mesh.server.interceptors.wrapping import Call, Proceed

_log = structlog.stdlib.get_logger(__name__)


class Standing:
    """Knows every call under way. Run `watch` as a background task."""

    def __init__(self, verifier: TokenVerifier) -> None:
        self._verifier = verifier
        self._calls: set[Held] = set()

    async def __call__(self, call: Call, request: Any, *, proceed: Proceed) -> Any:
        """Hold one call while it goes on."""
        task = asyncio.current_task()
        if call.peer is ANONYMOUS or task is None:
            return await proceed(call, request)
        held = Held(call, task)
        self._calls.add(held)
        try:
            # What became known since the token was looked at has found no call to end.
            self._require_good(held)
        except BaseException:
            self._calls.discard(held)
            raise
        expiry = self._expiry_of(held) if call.method in ENDLESS else None
        try:
            return await held.run(request, proceed)
        finally:
            self._calls.discard(held)
            if expiry is not None:
                expiry.close()

    async def watch(self) -> None:
        """End the calls of accounts that are suspended, as it becomes known, until cancelled."""
        rings = self._verifier.suspensions.bell.listen()
        while True:
            rings.take()
            for held in tuple(self._calls):
                try:
                    self._require_good(held)
                except Unauthenticated as refusal:
                    held.end(refusal)
                except Exception:
                    # The others are looked at all the same.
                    _log.exception("whether a call may go on is not known: it ends")
                    held.end(_doubted())
            await rings.wait()

    def _require_good(self, held: Held) -> None:
        self._verifier.suspensions.require_good(held.call.peer)
        self._verifier.suspensions.require_good(held.call.caller)

    def _expiry_of(self, held: Held) -> Expiry:
        seconds = min(map(self._verifier.seconds_left, (held.call.peer, held.call.caller)))
        expiry = Expiry(seconds, lambda: held.end(_expired()))
        current_expiry.set(expiry)
        return expiry


def _doubted() -> Unauthenticated:
    return Unauthenticated(
        "whether this account is suspended could not be told: log in again", reason="TOKEN_INVALID"
    )


def _expired() -> Unauthenticated:
    return Unauthenticated(
        "the access token of this stream has expired: open it again with a new one, from where it"
        " was",
        reason="TOKEN_EXPIRED",
    )
