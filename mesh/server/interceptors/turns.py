"""Callers take turns: who has hundreds of calls under way holds up his own, not those of others.

Of one account some calls are at their beginning at a time; and of what all begin and are answered
in streams a little is done in each round of the event loop, for each account in turn.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from functools import partial
from typing import Any

from mesh.concurrency.rounds import Rounds
from mesh.identity.caller import ANONYMOUS, Role
from mesh.server.interceptors.admission import owner_of
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
        self._rounds = Rounds()
        # Of each account, since when whose calls have a place; the longest comes first.
        self._places: dict[str, dict[object, float]] = {}
        self._waiting: dict[str, deque[tuple[asyncio.Future[None], object]]] = {}
        # Of which accounts it is looked, before long, whose beginning is over.
        self._looking: set[str] = set()

    async def __call__(self, call: Call, request: Any, *, proceed: Proceed) -> Any:
        """Let one call begin when it is its caller's turn."""
        caller = call.caller
        if call.peer.role in _NOT_HELD_UP and call.peer is caller:
            return await proceed(call, request)
        account = owner_of(call)
        call.messages.turn = partial(self._rounds.turn, account)
        await self._rounds.turn(account)
        if caller is ANONYMOUS:
            return await proceed(call, request)
        places = self._places.setdefault(account, {})
        key = object()
        if len(places) < self._at_once:
            places[key] = time.monotonic()
        else:
            await self._turn_of(account, places, key)
        try:
            return await proceed(call, request)
        finally:
            if places.pop(key, None) is not None:
                self._go_on(account, places)

    async def _turn_of(self, account: str, places: dict[object, float], key: object) -> None:
        """Wait until a place is kept by this key."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(account, deque()).append((turn, key))
        if account not in self._looking:
            self._look_later(account, places)
        try:
            await turn
        except asyncio.CancelledError:
            if places.pop(key, None) is not None:
                self._go_on(account, places)
            raise

    def _look_later(self, account: str, places: dict[object, float]) -> None:
        longest = next(iter(places.values()))
        left = longest + self._seconds - time.monotonic()
        self._looking.add(account)
        asyncio.get_running_loop().call_later(max(0.0, left), self._look, account)

    def _look(self, account: str) -> None:
        """Take the places of those whose beginning is over, if anybody waits for one."""
        self._looking.discard(account)
        if account not in self._waiting:
            return
        places, until = self._places[account], time.monotonic() - self._seconds
        for key in [key for key, since in places.items() if since <= until]:
            del places[key]
        self._go_on(account, places)
        if account in self._waiting:
            self._look_later(account, places)

    def _go_on(self, account: str, places: dict[object, float]) -> None:
        """Give free places to those who still want one."""
        waiting = self._waiting.get(account)
        while waiting and len(places) < self._at_once:
            turn, key = waiting.popleft()
            if not turn.done():
                places[key] = time.monotonic()
                turn.set_result(None)
        if waiting is not None and not waiting:
            del self._waiting[account]
        if not places:
            del self._places[account]
