"""Cleanup: expired rows go, once their sidecars have been read and would be found without them.

A row is all that leads to a file of another kind of id, or outside the folder of its id's time;
and a row whose sidecar is gone or cannot be used is a repair's to judge, which tells the feed.
Such rows stay, however long they have been expired.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mesh.operations import Operation
from storage_server.cache.rebuild import Proof
from storage_server.catalog.catalog import Catalog
from storage_server.catalog.fences import Fence
from storage_server.catalog.summaries import RowSummary
from storage_server.domain.decisions import Found
from storage_server.sidecars.locate import is_found_by_id
from storage_server.sidecars.reading import look_at
from storage_server.store.port import Store

BATCH = 1000


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What a cleanup did."""

    deleted_count: int
    duration_seconds: float


class Cleanup:
    """Cleans up the cache of one element."""

    def __init__(self, store: Callable[[], Store], catalog: Catalog, proof: Proof) -> None:
        self._store = store
        self._catalog = catalog
        self._proof = proof

    async def run(self, operation: Operation, fence: Fence) -> Cleaned:
        """Go through the rows that have expired by now, by file id.

        Raises:
            Unavailable: store or PostgreSQL does not answer, or the store is not the element's.
            Aborted: somebody with a higher fence took over.
        """
        started, now, deleted, after = time.monotonic(), datetime.now(UTC), 0, ""
        operation.begin("dropping")
        while True:
            rows = await self._catalog.summaries.expired_rows(after, now=now, limit=BATCH)
            await self._proof.prove()
            if readable := await self._readable(rows):
                deleted += await self._catalog.merge.delete_expired(readable, fence=fence, now=now)
            operation.advance(len(rows))
            if len(rows) < BATCH:
                return Cleaned(deleted, time.monotonic() - started)
            after = rows[-1].file_id

    async def _readable(self, rows: Sequence[RowSummary]) -> Sequence[RowSummary]:
        """Those whose sidecar is found from the id alone, and is valid."""
        rows = [row for row in rows if is_found_by_id(row.file_id, row.path)]
        found = await look_at(self._store(), rows)
        return [row for row in rows if found[row.file_id].found is Found.OWN]
