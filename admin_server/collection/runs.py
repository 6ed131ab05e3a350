"""Runs as operations: seen while they run, on record when they have ended, one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

from admin_server.clock import Clock
from admin_server.collection.collection import Collection, Order, Tally
from admin_server.collection.collector import Collector
from admin_server.collection.table import CollectionTable
from mesh.errors import Aborted, ArtStoreError
from mesh.operations import Operation, Operations
from mesh.postgres.database import Database

KIND = "collection"
LOCK_KEY = 0x6172_7473_636F_6C6C
_CLOSING_SECONDS = 2.0


class CollectionRuns:
    """Begins runs, and knows those that were.

    Args:
        database: whose lock lets one run remove at a time, of all admins.
        operations: those of this server.
    """

    def __init__(
        self,
        collector: Collector,
        table: CollectionTable,
        operations: Operations,
        *,
        database: Database,
        now: Clock,
    ) -> None:
        self._collector = collector
        self._operations = operations
        self._database = database
        self._now = now
        self.table = table

    async def run(self, order: Order, operation_id: str = "") -> Collection:
        """A run, as it ended; it goes on when its caller leaves.

        Raises:
            AlreadyExists: the id is another operation's.
            InvalidArgument: it is none.
            Aborted: cancelled, or another run removes at this moment (reason LOCK_HELD).
            Unavailable: the registry does not know all files, or the database is down.
        """

        async def work(operation: Operation) -> Collection:
            if order.dry_run:
                return await self._run(operation, order)
            async with self._alone():
                await self.table.end_cut_off(operation.operation_id)
                return await self._run(operation, order)

        return await self._operations.run(KIND, operation_id or uuid4().hex, work, asked=order)

    async def _run(self, operation: Operation, order: Order) -> Collection:
        run = Collection(
            collection_id=operation.operation_id,
            started_at=self._now(),
            dry_run=order.dry_run,
            requested_by=operation.requested_by,
        )
        tally, unexpected = Tally(), ""
        await self.table.begin(run)
        try:
            await self._collector.run(operation, order, tally)
        except ArtStoreError as exc:
            unexpected = exc.message
            raise
        except asyncio.CancelledError:
            unexpected = "cancelled"
            raise
        finally:
            if unexpected:
                tally.fail(unexpected)
            operation.findings = tally.collected
            ended = run.with_tally(tally, self._now())
            # Of a database that is down the next run finds that this one was cut off.
            with suppress(ArtStoreError):
                await asyncio.shield(self.table.end(ended))
        return ended

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """The lock is a session's: it ends with the connection of an admin that is killed."""
        connection = await self._database.connect()
        try:
            taken = await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK_KEY)
            if not taken:
                raise Aborted(
                    "another collection runs at this moment; `artstore collect` lists it, and "
                    "OperationService shows and stops it",
                    reason="LOCK_HELD",
                )
            yield
        finally:
            await connection.close(timeout=_CLOSING_SECONDS)
