"""A command that waits says so: what for, why, and for how long, on standard error."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from artstore_client.calls.waiting import Waiting
from artstore_client.cli.output import print_note

FIRST_NEWS_SECONDS = 2.0
NEWS_SECONDS = 10.0
_LOOK_SECONDS = 0.1


class WaitTeller:
    """Prints a line when nothing has moved for 2 s, and every 10 s after.

    Attributes:
        last: what was waited for a moment ago.
    """

    def __init__(self, waiting: Callable[[], Waiting | None]) -> None:
        self._waiting = waiting
        self.last: Waiting | None = None

    async def run(self) -> None:
        """Go on until cancelled."""
        told_at = 0.0
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = self.last = self._waiting()
            if now is None or now.seconds < FIRST_NEWS_SECONDS:
                told_at = 0.0
            elif not told_at or now.seconds - told_at >= NEWS_SECONDS:
                told_at = now.seconds
                print_note(sentence(now))


class News:
    """Prints how far work is that goes on elsewhere: after 2 s, every 10 s, and what is new."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._told_at = 0.0
        self._told = ""

    def tell(self, how_far: str, why: str) -> None:
        """Look at it again.

        Args:
            why: what it waits for itself; told at once when it is another one.
        """
        seconds = self._clock() - self._since
        if seconds < FIRST_NEWS_SECONDS:
            return
        if self._told_at and why == self._told and seconds - self._told_at < NEWS_SECONDS:
            return
        self._told_at, self._told = seconds, why
        print_note(f"waiting for {seconds:.0f} s: {how_far}{f' ({why})' if why else ''}")


def sentence(waiting: Waiting) -> str:
    """One line for a person."""
    since = f"waiting for {waiting.seconds:.0f} s"
    if waiting.why:
        left = f"trying again for {waiting.seconds_left or 0:.0f} s more"
        return f"{since}: {waiting.why} ({left}; see --timeout, --no-retry)"
    return f"{since} for the answer to {waiting.what}"
