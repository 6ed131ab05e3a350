"""Connections that are on their way to being open."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg

_LEAVE_SECONDS = 1.0


class Opening:
    """Opens connections, and cuts none off half way.

    Of one that is cancelled between its socket and its first answer asyncpg leaves a future
    behind that complains, as an error in the log, of a lost connection nobody waits for.
    """

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[Any]] = set()

    async def connect(self, *args: Any, **options: Any) -> Any:
        """`asyncpg.connect`. Whoever is cancelled meanwhile goes at once; what was opened for it
        is dropped when it is there.
        """
        making = asyncio.ensure_future(asyncpg.connect(*args, **options))
        self._under_way.add(making)
        making.add_done_callback(self._under_way.discard)
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            making.add_done_callback(_drop)
            raise

    async def close(self) -> None:
        """Wait a second at most for those that are under way."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=_LEAVE_SECONDS)


def _drop(made: asyncio.Task[Any]) -> None:
    if not made.cancelled() and made.exception() is None:
        made.result().terminate()
