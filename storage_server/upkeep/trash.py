"""Emptying the trash: bytes of files that were deleted long enough ago."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import structlog

from mesh.concurrency.keyed_locks import KeyedLocks
from mesh.errors import ArtStoreError
from storage_server.catalog.catalog import Catalog
from storage_server.catalog.rows import FileRow
from storage_server.domain.modes import Action, allows
from storage_server.domain.sidecar import FileState
from storage_server.element.state import Element
from storage_server.files.changes import remove_blob
from storage_server.sidecars.locate import locate

_log = structlog.stdlib.get_logger(__name__)


class Trash:
    """Removes blobs of tombstones; the tombstones themselves stay.

    Args:
        keep: how long a deleted file can be brought back.
    """

    def __init__(
        self, element: Element, catalog: Catalog, file_locks: KeyedLocks, *, keep: timedelta
    ) -> None:
        self._element = element
        self._catalog = catalog
        self._file_locks = file_locks
        self._keep = keep

    async def empty(self) -> None:
        """Remove what has been there for too long; what cannot be removed is passed over."""
        if not allows(self._element.mode, Action.DELETE):
            return
        self._element.writing()
        before = datetime.now(UTC) - self._keep
        rows = await self._catalog.writes.list_trash(before)
        while rows:
            for row in rows:
                await self._remove(row)
            rows = await self._catalog.writes.list_trash(before, after=rows[-1])

    async def _remove(self, row: FileRow) -> None:
        """Remove one blob, if its sidecar, read again, still says that it may go."""
        file_id = row.sidecar.file_id
        store = self._element.writing()
        try:
            async with self._file_locks.hold(file_id):
                located = await locate(store, file_id, row.path)
                if located is None:
                    await self._element.prove()
                    return
                sidecar = located.sidecar
                old = sidecar.updated_at < datetime.now(UTC) - self._keep
                if sidecar.state is not FileState.DELETED or not old:
                    return
                await remove_blob(store, self._catalog, sidecar)
        except ArtStoreError as exc:
            _log.warning("bytes not removed", file_id=file_id, reason=exc.message)
            return
        _log.info("bytes of a deleted file removed", file_id=file_id)
