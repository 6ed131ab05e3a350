"""Emptying the trash: bytes of files that were deleted long enough ago."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog

from mesh.concurrency.keyed_locks import KeyedLocks
from mesh.errors import ArtStoreError
from storage_server.catalog.catalog import Catalog
from storage_server.catalog.rows import FileRow
from storage_server.domain.sidecar import FileState
from storage_server.element.retention import Retention
from storage_server.element.state import Element
from storage_server.files.changes import remove_blob
from storage_server.sidecars.locate import locate

_log = structlog.stdlib.get_logger(__name__)


class Trash:
    """Removes blobs of tombstones; the tombstones themselves stay.

    Args:
        retention: how long a deleted file of a namespace can be brought back.
    """

    def __init__(
        self, element: Element, catalog: Catalog, file_locks: KeyedLocks, *, retention: Retention
    ) -> None:
        self._element = element
        self._catalog = catalog
        self._file_locks = file_locks
        self._retention = retention

    async def empty(self) -> None:
        """Remove what has been there for too long; what cannot be removed is passed over."""
        self._element.writing()
        set_so = self._retention.trash_that_was_set()
        await self._empty(self._retention.trash_unless_set, None, but=tuple(set_so))
        for namespace, keep in set_so.items():
            await self._empty(keep, namespace)

    async def _empty(
        self, keep: timedelta, namespace: str | None, *, but: Sequence[str] = ()
    ) -> None:
        before, list_trash = datetime.now(UTC) - keep, self._catalog.writes.list_trash
        rows = await list_trash(before, namespace=namespace, but=but)
        while rows:
            for row in rows:
                await self._remove(row)
            rows = await list_trash(before, namespace=namespace, but=but, after=rows[-1])

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
                keep = self._retention.trash(sidecar.namespace)
                old = sidecar.updated_at < datetime.now(UTC) - keep
                if sidecar.state is not FileState.DELETED or not old:
                    return
                await remove_blob(store, self._catalog, sidecar)
        except ArtStoreError as exc:
            _log.warning("bytes not removed", file_id=file_id, reason=exc.message)
            return
        _log.info("bytes of a deleted file removed", file_id=file_id)
