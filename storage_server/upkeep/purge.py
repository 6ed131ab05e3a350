"""Purging tombstones: what is left of files that were deleted long ago, sidecar and row.

The sidecar goes first. A crash after it leaves a row without a sidecar, which the next purge
meets again; a row that went first would leave a sidecar that nobody looks for.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import structlog

from mesh.concurrency.keyed_locks import KeyedLocks
from mesh.errors import Aborted, ArtStoreError
from storage_server.catalog.catalog import Catalog
from storage_server.catalog.fences import Fence, Guard
from storage_server.catalog.rows import FileRow
from storage_server.domain.modes import Action, allows
from storage_server.domain.sidecar import FileState
from storage_server.element.state import Element
from storage_server.element.writer import WriterLock
from storage_server.locks import ElementLocks, LockKind
from storage_server.sidecars.locate import locate
from storage_server.sidecars.reading import ReadSidecar
from storage_server.store.port import Store

_log = structlog.stdlib.get_logger(__name__)


class Purge:
    """Removes tombstones whose bytes are gone, under the lock of a cleanup.

    Args:
        writer: asked before a sidecar is removed from a store without conditional PUT.
        keep: how long after the deletion they stay.
    """

    def __init__(
        self,
        element: Element,
        catalog: Catalog,
        file_locks: KeyedLocks,
        writer: WriterLock,
        locks: ElementLocks,
        *,
        keep: timedelta,
    ) -> None:
        self._element = element
        self._catalog = catalog
        self._file_locks = file_locks
        self._writer = writer
        self._locks = locks
        self._keep = keep

    async def run(self) -> None:
        """Remove what is old enough; what cannot be removed now is left for the next time.

        Raises:
            Aborted: a check or a rebuild has the element or takes it over.
            Unavailable: PostgreSQL, Valkey or the storage does not answer.
        """
        if not allows(self._element.mode, Action.DELETE):
            return
        store = self._element.writing()
        writes, before = self._catalog.writes, datetime.now(UTC) - self._keep
        rows = await writes.list_old_tombstones(before)
        if not rows:
            return
        async with self._locks.hold(LockKind.BACKGROUND_CLEANUP, operation_id="") as held:
            fence = Fence(Guard.CLEANUP, held.fence)
            while rows:
                for row in rows:
                    await self._purge(store, row, before, fence)
                rows = await writes.list_old_tombstones(before, after=rows[-1])

    async def _purge(self, store: Store, row: FileRow, before: datetime, fence: Fence) -> None:
        file_id = row.sidecar.file_id
        try:
            async with self._file_locks.hold(file_id):
                located = await locate(store, file_id, row.path)
                if located is None:
                    await self._element.prove()
                elif located.sidecar.state is FileState.DELETED and (
                    located.sidecar.updated_at < before
                ):
                    await self._remove(store, located)
                else:
                    return
                await self._catalog.writes.purge_tombstone(
                    file_id, sequence=row.sequence, fence=fence
                )
        except Aborted:
            raise
        except ArtStoreError as exc:
            _log.warning("tombstone not purged", file_id=file_id, reason=exc.message)
            return
        _log.info("tombstone purged", file_id=file_id)

    async def _remove(self, store: Store, found: ReadSidecar) -> None:
        """Remove the sidecar, and bytes that somebody put back past the service before it."""
        await store.delete_blob(found.blob_path)
        if not store.conditional_put:
            await self._writer.check()
        await store.delete_sidecar(found.path)
