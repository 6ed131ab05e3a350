"""The run that comes by itself: on one admin, once in each interval, whoever restarts meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import structlog

from admin_server.clock import Clock
from admin_server.collection.collection import Order
from admin_server.collection.runs import CollectionRuns
from mesh.errors import Aborted, ArtStoreError

LOOK_SECONDS = 15.0
LOOKS = 4.0

_log = structlog.stdlib.get_logger(__name__)


class Schedule:
    """Run `watch` as a background task.

    Args:
        unread: ids of elements of which the registry does not know all: a run waits for them.
        seconds: between two runs; 0 is never.
    """

    def __init__(
        self,
        runs: CollectionRuns,
        *,
        unread: Callable[[], Awaitable[Sequence[str]]],
        seconds: float,
        now: Clock,
    ) -> None:
        self._runs = runs
        self._unread = unread
        self._seconds = seconds
        self._now = now
        self._since = now()

    async def watch(self) -> None:
        """Run whenever it is time, until cancelled."""
        while self._seconds > 0:
            await asyncio.sleep(min(LOOK_SECONDS, self._seconds / LOOKS))
            try:
                if await self._is_due() and not await self._unread():
                    await self._runs.run(Order(everywhere=False))
            except Aborted as exc:
                _log.info("no collection now", reason=exc.message)
            except ArtStoreError as exc:
                _log.warning("collection failed", reason=exc.message)

    async def _is_due(self) -> bool:
        last: datetime = await self._runs.table.last_by_itself() or self._since
        return self._now() - last >= timedelta(seconds=self._seconds)
