"""The check: compares rows with sidecars, changes nothing, and is exact while writes go on.

The walk only collects suspicions. Each is then looked at again: first the sidecar, then the
intents, then the row. An intent is committed before its sidecar and ends with its row, and a
row with a sequence above the check's beginning is a direct write's, so this order tells a file
that is wrong from one that is just being written.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime

from mesh.operations import Operation
from storage_server.cache.judging import Judging
from storage_server.cache.rebuild import Proof
from storage_server.cache.report import Level, Report
from storage_server.cache.scrub import Scrub
from storage_server.cache.survey import Verified, survey
from storage_server.cache.suspicions import Suspicions
from storage_server.catalog.catalog import Catalog
from storage_server.store.port import Store


class Check:
    """Checks one element.

    Args:
        store: of the element, as it is open at each call; raises Unavailable otherwise.
        catalog, proof: of the element.
        element_id: se-01.
        scrub: hashes blobs again, for level DEEP.
    """

    def __init__(
        self,
        *,
        store: Callable[[], Store],
        catalog: Catalog,
        proof: Proof,
        element_id: str,
        scrub: Scrub,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._proof = proof
        self._element_id = element_id
        self._scrub = scrub
        self._verified: dict[str, Verified] = {}

    def remember(self, verified: Mapping[str, Verified]) -> None:
        """Folders that a rebuild found equal: QUICK starts from them."""
        self._verified = dict(verified)

    async def run(self, operation: Operation, level: Level) -> Report:
        """Check.

        Raises:
            Unavailable: the store can't be proved or listed, or PostgreSQL does not answer.
        """
        started = time.monotonic()
        await self._proof.prove()
        head = await self._catalog.feed.head()
        report = Report(
            level, self._element_id, operation.operation_id, datetime.now(UTC), head.sequence
        )
        operation.begin("listing", total=head.file_count)
        met = await self._walk(operation, report)
        operation.begin("reading", total=len(met.paths) + len(met.rows))
        await Judging(self._store, self._catalog, operation, report).look_again(met)
        if level is Level.DEEP:
            await self._scrub.run(operation, report)
        await self._proof.prove()
        self._verified = met.verified
        if report.expired_count:
            report.expired_ids = await self._catalog.reads.expired_ids(report.started_at)
        report.duration_seconds = time.monotonic() - started
        return report

    async def _walk(self, operation: Operation, report: Report) -> Suspicions:
        met = Suspicions()
        verified = self._verified if report.level is Level.QUICK else None
        summaries = self._catalog.summaries
        walking = survey(self._store(), summaries, verified=verified, blob_sizes=True)
        async with aclosing(walking) as walk:
            async for batch in walk:
                operation.advance(await asyncio.to_thread(met.collect, batch, report))
        return met
