"""A command that waits says so: what for, why, and for how long, on standard error."""

from __future__ import annotations

import asyncio
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


def sentence(waiting: Waiting) -> str:
    """One line for a person."""
    since = f"waiting for {waiting.seconds:.0f} s"
    if waiting.why:
        left = f"trying again for {waiting.seconds_left or 0:.0f} s more"
        return f"{since}: {waiting.why} ({left}; see --timeout, --no-retry)"
    return f"{since} for the answer to {waiting.what}"
