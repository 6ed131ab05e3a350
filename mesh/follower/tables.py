"""Replica tables that are made at the start, and again when somebody dropped them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import structlog

from mesh.errors import ArtStoreError, Unavailable
from mesh.postgres.database import Database

WATCH_SECONDS = 2.0

_log = structlog.get_logger("mesh.follower")


class RebuildableTables:
    """Makes sure that tables are there; everything in them is rebuilt from the elements.

    Tables of an older version, which lack one of the names, are made anew as well.

    Args:
        database: where they are.
        names: of all of them: one that is missing means that none is to be trusted.
        drop: SQL that removes what is left of them, whatever that is.
        make: makes database and tables; what is there stays.
        lock_key: of the advisory lock under which tables of this database are made.

    Attributes:
        ready: they have been there since the start, as this version needs them; until then they may
            be those of an earlier one.
    """

    def __init__(
        self,
        database: Database,
        *,
        names: Sequence[str],
        drop: Sequence[str],
        make: Callable[[], Awaitable[None]],
        lock_key: int,
    ) -> None:
        self._database = database
        self._names = list(names)
        self._drop = drop
        self._make = make
        self._lock_key = lock_key
        self.ready = asyncio.Event()

    async def ensure(self) -> None:
        """Make what is missing.

        Raises:
            Unavailable: PostgreSQL is down or silent.
        """
        if not self.ready.is_set():
            # Asking a database that was never made would count as an outage.
            await self._make()
        missing = await self._missing()
        if missing:
            await self._clear()
        if missing is None or missing:
            await self._make()
        self.ready.set()

    async def first(self, seconds: float) -> None:
        """`ensure`, given up after so long: what is down now is waited for by `watch`."""
        with suppress(ArtStoreError, TimeoutError):
            async with asyncio.timeout(seconds):
                await self.ensure()

    async def watch(self) -> None:
        """Look again and again until cancelled."""
        told = ""
        while True:
            try:
                await self.ensure()
                told = ""
            except ArtStoreError as exc:
                if exc.message != told:
                    told = exc.message
                    _log.warning("replica tables are not available", reason=exc.message)
            await asyncio.sleep(WATCH_SECONDS)

    async def _missing(self) -> list[str] | None:
        """Tables that are not there; None when the database itself may be missing."""
        try:
            rows = await self._database.fetch(_MISSING, self._names)
        except Unavailable:
            return None
        return [row["name"] for row in rows]

    async def _clear(self) -> None:
        """Drop what is left, unless another process has made all of it again meanwhile."""
        async with self._database.transaction() as tx:
            await tx.execute("SELECT pg_advisory_xact_lock($1)", self._lock_key)
            rows = await tx.fetch(_MISSING, self._names)
            if not rows:
                return
            _log.warning("tables were dropped, they are made again", missing=[r[0] for r in rows])
            for statement in self._drop:
                await tx.execute(statement)


_MISSING = "SELECT name FROM unnest($1::text[]) name WHERE to_regclass(name) IS NULL"
