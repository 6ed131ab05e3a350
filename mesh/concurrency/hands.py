"""How many streams of bytes are read at a time, so that many that send at once stay little memory.

A message that is asked for may come, and is then held by gRPC, by us and by the thread that it is
for; one that is not asked for stays with its sender, but for what is read ahead. Whoever has a
silent sender, or cannot get rid of what it has, does not keep others from reading for long.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Self

MOST = 32
# A sender that lets so long pass is waited for beside the others.
SILENT_SECONDS = 0.05
# What is held for so long waits for something that others may do without.
STUCK_SECONDS = 1.0


class Hands:
    """Those of one server."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        # Since when.
        self._asking: dict[Hand, float] = {}
        self._holding: dict[Hand, float] = {}
        self._waiting: deque[tuple[Hand, asyncio.Future[None]]] = deque()
        self._look: asyncio.TimerHandle | None = None

    def begin(self) -> Hand:
        """Of one stream. `close` it in the end, or use it as a context."""
        return Hand(self)

    @property
    def are_free(self) -> bool:
        """There are so many that one may ask for more than it needs now."""
        return not self._waiting and len(self._asking) + len(self._holding) <= self._most // 2

    def ask(self, hand: Hand) -> asyncio.Future[None] | None:
        """Let it ask for a message; when it has to wait for that, until when."""
        self._holding.pop(hand, None)
        if hand in self._asking:
            return None
        if not self._waiting and self._has_room():
            self._asking[hand] = time.monotonic()
            return None
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((hand, turn))
        self._let_in()
        return turn

    def hold(self, hand: Hand) -> None:
        """Its message has come."""
        self._asking.pop(hand, None)
        self._holding[hand] = time.monotonic()

    def leave(self, hand: Hand) -> None:
        """It neither has one nor asks."""
        self._asking.pop(hand, None)
        self._holding.pop(hand, None)
        if self._waiting:
            self._let_in()

    def _has_room(self) -> bool:
        return len(self._asking) + len(self._holding) < self._most

    def _let_in(self) -> None:
        now = time.monotonic()
        if self._waiting and not self._has_room():
            _drop_older(self._asking, now - SILENT_SECONDS)
            _drop_older(self._holding, now - STUCK_SECONDS)
        while self._waiting and self._has_room():
            hand, turn = self._waiting.popleft()
            if not turn.done():
                self._asking[hand] = now
                turn.set_result(None)
        if self._waiting and self._look is None:
            self._look = asyncio.get_running_loop().call_later(SILENT_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        self._let_in()


def _drop_older(of: dict[Hand, float], than: float) -> None:
    for hand in [one for one, since in of.items() if since < than]:
        del of[hand]


class Hand:
    """That of one stream, which has at most one message in it."""

    def __init__(self, among: Hands) -> None:
        self._among = among
        self._turn: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def may_ask_ahead(self) -> bool:
        """The next message may be asked for while this one is worked on."""
        return self._among.are_free

    async def ask(self) -> None:
        """What was held is gone; wait until the next message may be asked for."""
        self._turn = self._among.ask(self)
        if self._turn is not None:
            try:
                await self._turn
            finally:
                self._turn = None

    def hold(self) -> None:
        """A message has come."""
        self._among.hold(self)

    def give_up(self) -> None:
        """Wait no longer for a turn."""
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    def close(self) -> None:
        """Nothing more is asked for."""
        self.give_up()
        self._among.leave(self)
