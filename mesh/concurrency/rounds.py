"""Work of many cut into rounds of the event loop, so that a round stays short whoever has how much.

A loop lets every task that can go on do one step before it comes to the first one again. A call
takes some ten such rounds, so hundreds of tasks that can always go on hold up each call by
thousands of steps.
"""

from __future__ import annotations

import asyncio
from collections import deque

# In a round of work alone this is less than a millisecond.
STEPS = 2


class Rounds:
    """Lets so many go on in each round of the running loop: those of each owner in turn.

    Args:
        steps: in each round.
    """

    def __init__(self, steps: int = STEPS) -> None:
        self._steps = steps
        self._left = steps
        # The owner whose turn is next comes first.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._counting = False

    async def turn(self, owner: str) -> None:
        """Wait until it is one's turn: not at all, as long as few want one."""
        if not self._waiting and self._left:
            self._left -= 1
            self._count()
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(turn)
        self._count()
        # Who leaves at his turn has it taken from nobody for longer than a round.
        await turn

    def _count(self) -> None:
        if not self._counting:
            self._counting = True
            asyncio.get_running_loop().call_soon(self._next_round)

    def _next_round(self) -> None:
        self._counting = False
        self._left = self._steps
        while self._waiting and self._left:
            owner = next(iter(self._waiting))
            waiting = self._waiting.pop(owner)
            turn = waiting.popleft()
            if waiting:
                self._waiting[owner] = waiting
            if not turn.done():
                turn.set_result(None)
                self._left -= 1
        if self._waiting or self._left < self._steps:
            self._count()
