"""Callers take turns: who begins hundreds of calls at once holds up his own, not those of others.

An event loop lets every task that can go on do one step before it comes to the first one again. A
call of somebody else takes some ten of these rounds, so each round must be short.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from mesh.identity.caller import ANONYMOUS, Role
from mesh.server.interceptors.wrapping import Call, Proceed

# Of one account, how many calls are in what they begin with.
AT_ONCE = 16
# So long a beginning lasts at most: what waits for a disk or another server does not compute.
BEGINNING_SECONDS = 0.05

_NOT_HELD_UP = frozenset({Role.SERVICE, Role.ADMIN})


class Turns:
    """Lets calls of each account begin some at a time, in the order in which they came."""

    def __init__(
        self, at_once: int = AT_ONCE, beginning_seconds: float = BEGINNING_SECONDS
    ) -> None:
        self._at_once = at_once
        self._seconds = beginning_seconds
        self._beginning: dict[str, int] = {}
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    async def __call__(self, call: Call, request: Any, *, proceed: Proceed) -> Any:
        """Let one call begin when it is its caller's turn."""
        caller = call.caller
        if caller is ANONYMOUS or (call.peer.role in _NOT_HELD_UP and call.peer is caller):
            return await proceed(call, request)
        account = caller.subject
        if self._beginning.get(account, 0) < self._at_once:
            self._beginning[account] = self._beginning.get(account, 0) + 1
        else:
            await self._turn_of(account)
        over = asyncio.get_running_loop().call_later(self._seconds, self._pass_on, account)
        try:
            return await proceed(call, request)
        finally:
            # Once its time has come, it passes the place on by itself.
            if over.when() > asyncio.get_running_loop().time():
                over.cancel()
                self._pass_on(account)

    async def _turn_of(self, account: str) -> None:
        """Wait for a place; it is ours when this returns."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(account, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._pass_on(account)
            raise

    def _pass_on(self, account: str) -> None:
        """Give a place to the next who still wants it, or give it up."""
        waiting = self._waiting.get(account)
        while waiting:
            turn = waiting.popleft()
            if not waiting:
                del self._waiting[account]
            if not turn.done():
                turn.set_result(None)
                return
        left = self._beginning[account] - 1
        if left:
            self._beginning[account] = left
        else:
            del self._beginning[account]
