"""Reading every sidecar and hashing every blob again, at a set rate."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable

from mesh.errors import DataLoss
from mesh.operations import Operation
from storage_server.cache.report import Finding, Report
from storage_server.catalog.catalog import Catalog
from storage_server.catalog.summaries import RowSummary
from storage_server.domain.life import HAVE_BYTES
from storage_server.domain.sidecar import Sidecar
from storage_server.sidecars.locate import locate_blob
from storage_server.sidecars.reading import InvalidAttr, ReadSidecar, read_rows
from storage_server.store.port import Store

BATCH = 500
CHUNK_BYTES = 1024 * 1024


class Scrub:
    """Scrubs one element.

    Args:
        store: of the element, as it is open at each call; raises Unavailable otherwise.
        catalog: of the element.
        bytes_per_second: how fast blobs are read; 0 means without a limit.
    """

    def __init__(
        self, *, store: Callable[[], Store], catalog: Catalog, bytes_per_second: int
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._rate = bytes_per_second

    async def run(self, operation: Operation, report: Report) -> None:
        """Add what is wrong to the report, but for files of which the walk found that already.

        Raises:
            Unavailable: the store or PostgreSQL does not answer.
        """
        operation.begin("hashing", total=report.total_cache_entries)
        started, hashed = time.monotonic(), 0
        async for rows in self._catalog.summaries.identities():
            live = [
                row
                for row in rows
                if row.intact and row.state in HAVE_BYTES and not report.is_wrong(row.file_id)
            ]
            for start in range(0, len(live), BATCH):
                batch = live[start : start + BATCH]
                for row, one in await self._read(batch):
                    if isinstance(one, InvalidAttr):
                        report.note(Finding.INVALID_ATTR, row.file_id, str(one))
                        continue
                    if one.digest != row.digest and not await self._moved_on(row):
                        report.note(Finding.STALE, row.file_id)
                    hashed += one.sidecar.size_bytes
                    if not await self._blob_is_whole(one.sidecar) and not await self._moved_on(row):
                        report.note(Finding.MISSING_BLOB, row.file_id)
                    operation.advance(1)
                    operation.findings = report.findings
                    await self._keep_to_the_rate(started, hashed)

    async def _read(
        self, rows: list[RowSummary]
    ) -> list[tuple[RowSummary, ReadSidecar | InvalidAttr]]:
        read = await read_rows(self._store(), rows)
        return [(row, read[row.file_id]) for row in rows if row.file_id in read]

    async def _moved_on(self, row: RowSummary) -> bool:
        """A direct write has changed the file since its row was read, or is about to."""
        # In this order: an intent ends only with its row.
        busy = row.file_id in await self._catalog.pending.pending_ids()
        now = (await self._catalog.summaries.rows_by_id([row.file_id])).get(row.file_id)
        return busy or now is None or now.sequence != row.sequence

    async def _blob_is_whole(self, sidecar: Sidecar) -> bool:
        path = await locate_blob(self._store(), sidecar)
        if path is None or await self._store().stat_blob(path) != sidecar.size_bytes:
            return False
        hasher = hashlib.sha256()
        try:
            async for chunk in self._store().read_blob(
                path, offset=0, length=sidecar.size_bytes, chunk_size=CHUNK_BYTES
            ):
                await asyncio.to_thread(hasher.update, chunk)
        except DataLoss:
            return False
        return hasher.hexdigest() == sidecar.sha256

    async def _keep_to_the_rate(self, started: float, hashed: int) -> None:
        if self._rate:
            ahead = hashed / self._rate - (time.monotonic() - started)
            if ahead > 0:
                await asyncio.sleep(ahead)
