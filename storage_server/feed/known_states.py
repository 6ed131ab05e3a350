"""Who follows the feed without knowing all states that a file may be in.

A follower of an earlier version takes a state that it does not know for another one, and keeps what
it made of it. So such files are told to it as deleted, and admin moves none while there is one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

REMEMBERED_SECONDS = 24 * 3600.0


class FollowersBehind:
    """Accounts of servers that follow, or have within 24 hours, and did not say that they know all.

    It is of this process: after a start an account is known once it follows again.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._following: Counter[str] = Counter()
        self._left_at: dict[str, float] = {}

    @contextmanager
    def following(self, account: str, *, knows_all: bool) -> Iterator[None]:
        """While a follower of that account does.

        One that knows all stands for the account from then on, unless another of it still follows
        that does not.
        """
        if knows_all:
            self._left_at.pop(account, None)
            yield
            return
        self._following[account] += 1
        try:
            yield
        finally:
            self._following[account] -= 1
            self._left_at[account] = self._clock()

    def names(self) -> tuple[str, ...]:
        """Their accounts, by name; 100 at most."""
        since = self._clock() - REMEMBERED_SECONDS
        self._left_at = {name: at for name, at in self._left_at.items() if at > since}
        return tuple(sorted({*self._left_at, *(+self._following)}))[:100]
