"""Fences: numbers that only grow, and that let the latest holder of a lock write alone.

A fence is drawn before the lock is asked for. A rebuild puts its own on record before it
looks at anything; from then on no transaction with a lower one commits.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import asyncpg

from mesh.errors import Aborted
from mesh.postgres.database import Database
from storage_server.catalog.tables import Tables


class Guard(StrEnum):
    """Whose transaction it is."""

    REBUILD = "rebuild"
    CLEANUP = "cleanup"
    LAZY = "lazy"


@dataclass(frozen=True, slots=True)
class Fence:
    """A drawn fence and what it guards."""

    guard: Guard
    number: int


class Fences:
    """Every call raises Unavailable when PostgreSQL does not answer in time."""

    def __init__(self, database: Database, tables: Tables) -> None:
        self._database = database
        self._tables = tables

    async def draw(self) -> int:
        """A number above all that were drawn before."""
        async with self._database.connection() as connection:
            return int(
                await connection.fetchval(
                    "SELECT nextval($1::text::regclass)", self._tables.fence_sequence
                )
            )

    async def setval_at_least(self, fence: int) -> None:
        """Make the next draw answer more than `fence` (the lock store remembers higher ones)."""
        sequence = self._tables.fence_sequence
        async with self._database.connection() as connection:
            await connection.fetchval(
                "SELECT setval($1::text::regclass, $2::bigint)"
                f" FROM {sequence} WHERE last_value < $2::bigint",
                sequence,
                fence,
            )

    async def raise_rebuild(self, fence: int) -> None:
        """Shut out every guarded transaction with a lower fence, in a transaction of its own.

        Raises:
            Aborted: a rebuild with this fence or a higher one is on record (reason PREEMPTED).
        """
        tag = await self._database.execute(
            f"UPDATE {self._tables.fences} SET rebuild_fence = $1 WHERE rebuild_fence < $1", fence
        )
        if tag != "UPDATE 1":
            raise _preempted()

    async def raise_cleanup(self, fence: int) -> None:
        """The same for cleanups among each other.

        Raises:
            Aborted: a rebuild or a cleanup with this fence or a higher one is on record.
        """
        tag = await self._database.execute(
            f"UPDATE {self._tables.fences} SET cleanup_fence = $1"
            " WHERE cleanup_fence < $1 AND rebuild_fence < $1",
            fence,
        )
        if tag != "UPDATE 1":
            raise _preempted()

    async def require(self, connection: asyncpg.Connection[Any], fence: Fence) -> None:
        """First statement of a guarded transaction: hold the fences still until it ends.

        Raises:
            Aborted: somebody with a higher fence has taken over (reason PREEMPTED).
        """
        record = await connection.fetchrow(
            f"SELECT rebuild_fence, cleanup_fence FROM {self._tables.fences} FOR SHARE"
        )
        if record is None or not in_force(fence, record["rebuild_fence"], record["cleanup_fence"]):
            raise _preempted()


def in_force(fence: Fence, rebuild_fence: int, cleanup_fence: int) -> bool:
    """Whether a guarded transaction may go on, by the fences on record."""
    if fence.guard is Guard.REBUILD:
        # A cleanup with a higher fence began after this rebuild's lock had expired.
        return rebuild_fence == fence.number > cleanup_fence
    if fence.guard is Guard.CLEANUP:
        return rebuild_fence < fence.number and cleanup_fence == fence.number
    return rebuild_fence < fence.number


def _preempted() -> Aborted:
    return Aborted("another operation with a higher fence took over", reason="PREEMPTED")
