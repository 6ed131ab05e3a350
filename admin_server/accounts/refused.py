"""Tells every server whose tokens are refused: the others by call, and by a copy in Redis."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime
from typing import Any

import structlog

from admin_server.accounts.suspensions import Suspension as Row
from admin_server.accounts.suspensions import SuspensionTable
from admin_server.clock import Clock
from mesh.calls.suspension_list import put_copy
from mesh.contract import MAX_PAGE_SIZE
from mesh.errors import ArtStoreError, Unavailable
from mesh.identity.suspensions import Suspension, SuspensionList, Suspensions

# So long who ends an account's tokens waits until the others can know of it.
TELL_SECONDS = 1.0

_log = structlog.stdlib.get_logger(__name__)


class RefusedAccounts:
    """Reads the table again and again; what was read last stays good while the database is down.

    Args:
        suspensions: what this process goes by.
        redis: client of where a copy is left, closed by `close`; None for nowhere.
    """

    def __init__(
        self,
        table: SuspensionTable,
        suspensions: Suspensions,
        redis: Any | None,
        *,
        now: Clock,
    ) -> None:
        self._table = table
        self._suspensions = suspensions
        self._redis = redis
        self._now = now
        # A list that was read earlier does not go before one that was read later.
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        """Let go of Redis."""
        if self._redis is not None:
            await self._redis.aclose()

    async def refresh(self) -> None:
        """Read the list, go by it, keep it, and leave a copy in Redis.

        Raises:
            Unavailable: the database is down.
            OSError: it cannot be kept on disk; it counts all the same.
        """
        async with self._turn:
            found = await self._read()
            self._suspensions.take(found)
            if self._redis is not None:
                with suppress(Unavailable):
                    await put_copy(self._redis, found)
            await self._suspensions.keep()

    async def tell_now(self) -> None:
        """`refresh` at once, for a second at most; what fails of it is done again soon."""
        try:
            async with asyncio.timeout(TELL_SECONDS):
                await self.refresh()
        except (ArtStoreError, OSError, TimeoutError) as exc:
            _log.warning("what ended is told a little later", reason=str(exc) or "it took long")

    async def page(self, after: str, limit: int) -> tuple[list[Row], int, datetime]:
        """(at most `limit` by client_id that follow `after`, how many there are, when that was).

        Raises:
            Unavailable: the database is down.
        """
        now = self._now()
        return *await self._table.page(after, limit, now=now), now

    async def _read(self) -> SuspensionList:
        now, found, after = self._now(), list[Suspension](), ""
        while True:
            rows, _ = await self._table.page(after, MAX_PAGE_SIZE, now=now)
            found += map(_suspension, rows)
            if len(rows) < MAX_PAGE_SIZE:
                return SuspensionList(now.timestamp(), tuple(found))
            after = rows[-1].client_id


def _suspension(row: Row) -> Suspension:
    return Suspension(
        row.client_id,
        row.suspended_at.timestamp(),
        None if row.ends_at is None else row.ends_at.timestamp(),
    )
