"""Asking PostgreSQL and Redis for the time, regularly and never while somebody waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from prometheus_client import Gauge

from mesh.errors import ArtStoreError
from mesh.postgres.database import Database
from mesh.redis import translated
from storage_server.catalog.reads import Reads
from storage_server.element.clock import Clock
from storage_server.element.state import Element

INTERVAL_SECONDS = 5.0
LOOK_SECONDS = 1.0
FILES_SECONDS = 60.0
# A file dated further ahead of every clock was made by a clock that was wrong.
AHEAD = timedelta(days=1)

CLOCK_AHEAD = Gauge(
    "artstore_clock_ahead_seconds", "This clock less another one", ["element", "clock"]
)
FILES_AHEAD = Gauge(
    "artstore_files_dated_ahead",
    "Files dated more than a day ahead of every clock, at most 1,000 counted",
    ["element"],
)

_log = structlog.stdlib.get_logger(__name__)


class ClockWatch:
    """Keeps `clock` informed; run `watch` as a background task."""

    def __init__(
        self, clock: Clock, element: Element, reads: Reads, *, database: Database, redis: Any
    ) -> None:
        self._clock = clock
        self._element = element
        self._reads = reads
        self._database = database
        self._redis = redis
        self._files_due_at = 0.0
        self._told: tuple[bool, frozenset[str]] = (False, frozenset())
        self._told_ahead = 0

    async def watch(self) -> None:
        """Look every five seconds until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(INTERVAL_SECONDS)

    async def look(self) -> None:
        """Ask both, wait at most a second for either, and tell of what is wrong."""
        await asyncio.gather(
            self._ask("PostgreSQL", self._database_time), self._ask("Redis", self._redis_time)
        )
        for whose, ahead in self._clock.ahead().items():
            CLOCK_AHEAD.labels(self._element.element_id, whose).set(ahead)
        self._tell()
        if self._clock.monotonic() >= self._files_due_at:
            await self._look_at_files()

    async def _ask(self, whose: str, ask: Callable[[], Awaitable[float]]) -> None:
        asked_at = self._clock.monotonic()
        with suppress(ArtStoreError, TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                seconds = await ask()
            self._clock.heard(whose, seconds, asked_at=asked_at)

    async def _database_time(self) -> float:
        return float(
            await self._database.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
        )

    async def _redis_time(self) -> float:
        with translated("time"):
            seconds, microseconds = await self._redis.time()
        return float(seconds) + float(microseconds) / 1e6

    def _tell(self) -> None:
        doubt, disagreeing = self._clock.doubt(), self._clock.disagreeing()
        now = (bool(doubt), frozenset(disagreeing))
        if now == self._told:
            return
        if now[0] != self._told[0]:
            self._element.changed.ring()
        self._told = now
        if doubt:
            _log.warning("no uploads are taken", reason=doubt)
        elif disagreeing:
            _log.warning(
                "clocks differ; this one is believed, since another one agrees with it",
                seconds_ahead_of={whose: round(ahead) for whose, ahead in disagreeing.items()},
            )
        else:
            _log.info("the clock is right")

    async def _look_at_files(self) -> None:
        """Note the newest file, without those that no right clock can have dated."""
        limit = datetime.fromtimestamp(self._clock.latest(), UTC) + AHEAD
        try:
            self._element.require_tables()
            newest, ahead = await self._reads.newest(limit)
        except ArtStoreError:
            return
        self._files_due_at = self._clock.monotonic() + FILES_SECONDS
        self._clock.newest_file(newest.timestamp() if newest else 0.0)
        FILES_AHEAD.labels(self._element.element_id).set(ahead)
        if ahead and ahead != self._told_ahead:
            _log.warning(
                "files are dated more than a day ahead of every clock; they are found and read"
                " as all others, and expire by their own date",
                files=ahead,
                examples=await self._reads.dated_after(limit, limit=3),
            )
        self._told_ahead = ahead
