"""Removing what a rebuild met of erased files: of a backup that was put back, of a crash."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import structlog

from mesh.concurrency.keyed_locks import KeyedLocks
from mesh.errors import ArtStoreError
from storage_server.cache.run import RebuildRun
from storage_server.catalog.catalog import Catalog
from storage_server.catalog.summaries import RowSummary
from storage_server.domain.sidecar import FileState
from storage_server.sidecars.locate import locate
from storage_server.store.port import Store
from storage_server.writing.remains import Remains

BATCH = 1000

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Forgetting:
    """Of one element."""

    store: Callable[[], Store]
    catalog: Catalog
    file_locks: KeyedLocks
    remains: Remains

    async def run(self, run: RebuildRun) -> None:
        """Remove it; what cannot be removed now is met by the next rebuild.

        Raises:
            Unavailable: PostgreSQL does not answer.
        """
        ids = sorted(run.leftovers.keys() | run.renamed)
        for start in range(0, len(ids), BATCH):
            rows = await self.catalog.summaries.rows_by_id(ids[start : start + BATCH])
            for row in rows.values():
                if row.state is FileState.ERASED:
                    await self._forget(row, run.leftovers.get(row.file_id, ()))
                    run.renamed.discard(row.file_id)

    async def _forget(self, row: RowSummary, paths: Collection[str]) -> None:
        try:
            async with self.file_locks.hold(row.file_id):
                store = self.store()
                located = await locate(store, row.file_id, row.path)
                if located is None or not located.is_erased:
                    return
                await self.remains.remove(store, row.file_id, located.path, met=paths)
        except ArtStoreError as exc:
            _log.warning("remains of an erased file", file_id=row.file_id, reason=exc.message)
            return
        _log.info("erased again", file_id=row.file_id)
