"""Transfers that ended long ago are forgotten."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

import structlog

from mesh.errors import Unavailable
from mesh.postgres.database import Database

TRIM_SECONDS = 3600.0
_AT_ONCE = 1_000
# By the index on created_at: nothing ends before it began.
_TRIM = f"""
    DELETE FROM transfers WHERE transfer_id IN (
        SELECT transfer_id FROM transfers
        WHERE created_at < now() - $1::interval AND ended_at < now() - $1::interval AND tidied
        ORDER BY created_at, transfer_id LIMIT {_AT_ONCE}
        FOR UPDATE SKIP LOCKED
    )
"""

_log = structlog.stdlib.get_logger(__name__)


class Trimming:
    """Removes rows of transfers.

    Args:
        keep: how long after its end one is shown.
    """

    def __init__(self, database: Database, *, keep: timedelta) -> None:
        self._database = database
        self._keep = keep

    async def run(self) -> None:
        """Look each hour, until cancelled."""
        while True:
            with suppress(Unavailable):
                await self.trim()
            await asyncio.sleep(TRIM_SECONDS)

    async def trim(self) -> int:
        """Remove what ended long enough ago; how many they were.

        Raises:
            Unavailable: the database is down.
        """
        total, removed = 0, _AT_ONCE
        while removed == _AT_ONCE:
            status = await self._database.execute(_TRIM, self._keep)
            removed = int(status.rpartition(" ")[2])
            total += removed
        if total:
            _log.info("transfers that ended long ago are forgotten", transfers=total)
        return total
