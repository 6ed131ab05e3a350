"""What the writer does by itself: replay, sweep, drop idle uploads, empty the trash.

Tombstones and stubs stay until admin has them purged: what they must stop may be on an element that
this one knows nothing of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from mesh.concurrency.bell import Bell
from mesh.errors import ArtStoreError
from storage_server.element.clock import Clock
from storage_server.element.phase import Phase
from storage_server.element.state import Element
from storage_server.upkeep.leftovers import Leftovers
from storage_server.upkeep.sweep import Sweeper
from storage_server.upkeep.trash import Trash
from storage_server.uploads.keeping import UploadKeeping
from storage_server.writing.replay import INTERVAL_SECONDS, Replay

SELDOM_SECONDS = 600.0

_log = structlog.stdlib.get_logger(__name__)


class Maintenance:
    """Run `watch` as a background task; `started` when this process has become the writer."""

    def __init__(
        self,
        element: Element,
        clock: Clock,
        replay: Replay,
        uploads: UploadKeeping,
        *,
        sweeper: Sweeper,
        trash: Trash,
        leftovers: Leftovers,
    ) -> None:
        self._element = element
        self._clock = clock
        self._replay = replay
        self._uploads = uploads
        self._sweeper = sweeper
        self._trash = trash
        self._leftovers = leftovers
        self._due = Bell()
        self._first = True
        self._seldom_at = 0.0

    def started(self) -> None:
        """Do at once what earlier writers left."""
        self._first = True
        self._due.ring()

    async def watch(self) -> None:
        """Every ten seconds, and at once when due, until cancelled."""
        due = self._due.listen()
        while True:
            due.take()
            if self._element.phase is Phase.WRITING:
                await self._round()
            await due.wait(INTERVAL_SECONDS)

    async def _round(self) -> None:
        done = await self._try("replay", self._replay.all)
        await self._try("idle uploads' stages", self._uploads.close_idle)
        if self._first and done:
            swept = await self._try("first sweep", self._first_sweep)
            self._first = not swept
        if self._clock.doubt():
            # By a clock that is wrong anything may look old enough to go.
            return
        await self._try("trash", self._trash.empty)
        now = asyncio.get_running_loop().time()
        if now - self._seldom_at >= SELDOM_SECONDS or not self._seldom_at:
            self._seldom_at = now
            await self._try("sweep", self._sweep)
            await self._try("idle uploads", self._uploads.drop_idle)
            await self._try("quarantine", self._leftovers.empty_quarantine)

    async def _first_sweep(self) -> None:
        await self._uploads.settle_open()
        await self._sweeper.sweep(grace_seconds=0)

    async def _sweep(self) -> None:
        await self._sweeper.sweep()

    async def _try(self, what: str, work: Callable[[], Awaitable[None]]) -> bool:
        try:
            await work()
        except ArtStoreError as exc:
            _log.info("left for later", work=what, reason=exc.message)
            return False
        return True
