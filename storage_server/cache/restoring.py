"""Giving files under another form of their names the recorded ones back.

Blob and sidecar are renamed one after the other, under the file's lock. Killed in between, the
file has one name of each form, which is as good as before and is seen by the next check.
"""

from __future__ import annotations

from collections.abc import Callable

from mesh.concurrency.keyed_locks import KeyedLocks
from mesh.errors import DataLoss, FailedPrecondition
from storage_server.cache.run import RebuildRun
from storage_server.catalog.catalog import Catalog
from storage_server.catalog.summaries import RowSummary
from storage_server.domain.naming import blob_path
from storage_server.element.writer import WriterLock
from storage_server.sidecars.locate import locate, locate_blob
from storage_server.sidecars.reading import InvalidAttr
from storage_server.store.port import Store

BATCH = 1000


class NameRestoring:
    """Restores names of one element.

    Args:
        writer: asked before each renaming on a store where it takes two steps.
    """

    def __init__(
        self,
        *,
        store: Callable[[], Store],
        catalog: Catalog,
        file_locks: KeyedLocks,
        writer: WriterLock,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._file_locks = file_locks
        self._writer = writer

    async def run(self, run: RebuildRun) -> None:
        """Restore the names of the files that the rebuild met under another form.

        Raises:
            Unavailable: the store or PostgreSQL does not answer, or this is no longer the writer.
        """
        run.operation.begin("renaming", total=len(run.renamed))
        ids = sorted(run.renamed)
        for start in range(0, len(ids), BATCH):
            rows = await self._catalog.summaries.rows_by_id(ids[start : start + BATCH])
            for row in rows.values():
                try:
                    async with self._file_locks.hold(row.file_id):
                        run.result.names_restored += await self._restore(row)
                except (DataLoss, FailedPrecondition) as exc:
                    run.result.note(InvalidAttr(row.path, exc.message))
                run.operation.advance(1)

    async def _restore(self, row: RowSummary) -> bool:
        """Whether a name changed. The file's lock is held."""
        located = await locate(self._store(), row.file_id, row.path)
        if located is None or located.is_erased:
            return False
        sidecar = located.sidecar
        recorded = blob_path(sidecar.storage_path, sidecar.storage_filename)
        blob = await locate_blob(self._store(), sidecar)
        changed = blob is not None and await self._rename(blob, recorded)
        return await self._rename(located.path, located.recorded_path) or changed

    async def _rename(self, path: str, to: str) -> bool:
        if path == to:
            return False
        if self._store().lands_late:
            await self._writer.check()
        return await self._store().rename(path, to)
