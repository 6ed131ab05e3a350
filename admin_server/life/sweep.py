"""Finishing what nobody works on: files whose rows in the registry show that something was begun.

So a switch ends also when admin's tables were lost in the middle of it, and of two homes the later
one stays. One admin does it at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from prometheus_client import Counter, Gauge

from admin_server.life.lease import Lease
from admin_server.life.settling import Settling
from admin_server.life.unsettled import Unsettled
from admin_server.registry.registry import TABLE
from mesh.errors import ArtStoreError, TablesMissing, Unavailable
from mesh.postgres.database import Database

BATCH = 200
# Files that are settled at a time: it is work beside all other.
PARALLEL = 4
LEASE_SECONDS = 60.0
# Rows that one sweep goes through of each walk, so that its cost does not grow with the mesh: of
# ten million files the whole is walked in some hours.
ROWS_ON_THE_WAY = 50_000
ROWS_OF_ALL = 20_000
STATEMENT_SECONDS = 20.0

FAILED = Counter("artstore_sweep_failures", "Looks for unfinished moves that broke off")
WHOLE = Gauge(
    "artstore_sweep_whole_timestamp_seconds",
    "When this admin last came to the end of all rows in its looks for unfinished moves",
)

ON_THE_WAY = "state IN ('incoming', 'moved')"
_SINCE = "coalesce({row}.home_since, floor(extract(epoch FROM {row}.created_at) * 1000))"
_LATER = f"({_SINCE.format(row='other')}, other.revision) > ({_SINCE.format(row='t')}, t.revision)"
_EARLIER = _LATER.replace(">", "<")
_IS_THERE = f"SELECT FROM {TABLE} AS other WHERE other.file_id = t.file_id"
# Incoming; moved, and nothing that is the home of it.
_LEFT = f"""
    (state = 'incoming' AND EXISTS ({_IS_THERE} AND other.state IN ('deleted', 'erased')))
    OR (state IN ('incoming', 'moved', 'copy') AND NOT EXISTS (
        {_IS_THERE} AND other.state IN ('active', 'deleted', 'erased')))
"""
# Two homes; a home that something later is known of; what was erased in some places; a copy that
# lacks what its home says since. Neither of
# these stays so by itself.
_UNFINISHED = f"""
    state <> 'gone' AND ({_LEFT}
        OR (state IN ('active', 'deleted') AND EXISTS (
            {_IS_THERE} AND other.storage_element_id <> t.storage_element_id
            AND (other.state IN ('active', 'deleted')
                OR (other.state IN ('copy', 'incoming', 'moved') AND {_LATER}))))
        OR (state = 'copy' AND EXISTS (
            {_IS_THERE} AND other.state IN ('active', 'deleted') AND {_LATER}))
    )
"""
_UNFINISHED_ON_THE_WAY = f"""
    ({_LEFT} OR EXISTS ({_IS_THERE} AND other.state IN ('active', 'deleted') AND {_EARLIER}))
"""


@dataclass(slots=True)
class Walk:
    """One way through the registry, a slice at a time, again from the start at its end.

    Attributes:
        rows: those it goes through; the registry has an index of them by id.
        unfinished: those of them that are to be settled.
        at_a_time: rows of a slice.
        after: where the next slice begins.
    """

    rows: str
    unfinished: str
    at_a_time: int
    after: str = ""

    @property
    def end_statement(self) -> str:
        """SQL for the last id of a slice."""
        return (
            f"SELECT file_id FROM {TABLE} WHERE {self.rows} AND file_id > $1"
            f" ORDER BY file_id OFFSET {self.at_a_time - 1} LIMIT 1"
        )

    @property
    def statement(self) -> str:
        """SQL for what is unfinished in a slice."""
        return f"""
            SELECT DISTINCT file_id FROM {TABLE} AS t
            WHERE {self.rows} AND file_id > $1 AND ($2 = '' OR file_id <= $2)
            AND ({self.unfinished})
            AND NOT EXISTS (
                SELECT FROM transfers WHERE transfers.file_id = t.file_id AND ended_at IS NULL)
            ORDER BY file_id LIMIT {BATCH}
        """


_log = structlog.stdlib.get_logger(__name__)


class Sweep:
    """Settles files that are unfinished; run `run` in the background.

    Args:
        seconds: between two sweeps.
        rows_of_all: rows that one sweep goes through of all; the ones on the way go faster.
    """

    def __init__(
        self,
        database: Database,
        settling: Settling,
        *,
        seconds: float,
        rows_of_all: int = ROWS_OF_ALL,
    ) -> None:
        self._database = database
        self._settling = settling
        self._seconds = seconds
        self._lease = Lease(database, "sweep", seconds=max(LEASE_SECONDS, 2 * seconds))
        self._unsettled = Unsettled(database)
        self._on_the_way = Walk(ON_THE_WAY, _UNFINISHED_ON_THE_WAY, ROWS_ON_THE_WAY)
        self._all = Walk("true", _UNFINISHED, rows_of_all)

    async def run(self) -> None:
        """Sweep again and again until cancelled."""
        while True:
            try:
                if await self._lease.take():
                    await self.once()
            except (Unavailable, TablesMissing) as exc:
                FAILED.inc()
                _log.warning("no look for unfinished moves", reason=exc.message)
            await asyncio.sleep(self._seconds)

    async def once(self) -> int:
        """Settle the homes that feeds told twice, and what is unfinished now in a slice of each
        walk; how many files were looked at.

        Raises:
            Unavailable: the database is down.
        """
        looked_at = await self._told_twice() + await self._go(self._on_the_way)
        looked_at += await self._go(self._all)
        if not self._all.after:
            WHOLE.set_to_current_time()
        return looked_at

    async def _told_twice(self) -> int:
        looked_at, more = 0, True
        while more and (not looked_at or await self._lease.take()):
            file_ids, more = await self._unsettled.due(BATCH)
            await self._settle(file_ids)
            looked_at += len(file_ids)
        return looked_at

    async def _go(self, walk: Walk) -> int:
        # Planned anew: a plan that is kept may be of when there were no rows.
        ends = await self._database.fetch(
            walk.end_statement, walk.after, timeout=STATEMENT_SECONDS, replan=True
        )
        end = ends[0]["file_id"] if ends else ""
        looked_at = 0
        while True:
            rows = await self._database.fetch(
                walk.statement, walk.after, end, timeout=STATEMENT_SECONDS, replan=True
            )
            file_ids = [row["file_id"] for row in rows]
            await self._settle(file_ids)
            looked_at += len(file_ids)
            if len(file_ids) < BATCH:
                walk.after = end
                return looked_at
            walk.after = file_ids[-1]
            if not await self._lease.take():
                return looked_at

    async def _settle(self, file_ids: Sequence[str]) -> None:
        room = asyncio.Semaphore(PARALLEL)

        async def one(file_id: str) -> None:
            async with room:
                try:
                    settled = await self._settling.settle(file_id)
                except ArtStoreError as exc:
                    _log.info("file not settled", file_id=file_id, reason=exc.message)
                    return
            if settled.steps:
                _log.info("file settled", file_id=file_id, steps=settled.steps)

        await asyncio.gather(*(one(file_id) for file_id in file_ids))
