"""Purging: the last record of a file is removed, sidecar and row, and the feed is told.

    intent committed     it says whose change this is
    bytes removed        that somebody put back past the service
    sidecar removed      from here on nobody knows the file
    row, feed and end of the intent in one statement

The sidecar goes first. A crash before that leaves an intent that the replay ends, and nothing has
happened; a crash after it leaves one whose replay drops the row and tells the feed. So what was
purged is told once. A repair that has read the sidecar before leaves out what was purged since
(`catalog/merge.py`), so none need be kept away.
"""

from __future__ import annotations

import structlog

from mesh.errors import ArtStoreError, Unavailable
from storage_server.catalog.port import FileCatalog
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.origin import Origin
from storage_server.element.writer import WriterLock
from storage_server.sidecars.locate import remove_bytes
from storage_server.sidecars.reading import ReadSidecar
from storage_server.store.port import Store
from storage_server.writing.recording import counted_of

_log = structlog.stdlib.get_logger(__name__)


class Purging:
    """Purges single files; whether one may go is the caller's to know.

    Args:
        writer: asked before a sidecar is removed from a store without conditional PUT.
    """

    def __init__(self, catalog: FileCatalog, writer: WriterLock) -> None:
        self._catalog = catalog
        self._writer = writer

    async def purge(self, store: Store, found: ReadSidecar, *, by: Origin) -> int:
        """Remove a file's record, and answer how many bytes were beside it all the same.

        The caller holds the file's lock, has just read the sidecar, and has replayed what was
        pending (`Replay.before_change`).

        Args:
            by: whose change it is, for the feed.

        Raises:
            Unavailable: storage or database; it may have been done, or be done by the replay.
        """
        file_id = found.sidecar.file_id
        pending = self._catalog.pending
        intent = await pending.begin_write(
            file_id,
            found.path,
            ChangeKind.PURGED,
            by=by,
            revision=found.sidecar.revision,
            digest=found.digest,
            counted=await counted_of(store, found.sidecar),
        )
        try:
            freed = await remove_bytes(store, found.sidecar)
            if not store.conditional_put:
                await self._writer.check()
        except ArtStoreError:
            await pending.end_pending(intent)
            raise
        await store.delete_sidecar(found.path)
        try:
            await self._catalog.writes.purge(file_id)
        except Unavailable:
            # A connection that died meanwhile fails once; a repeat tells nothing twice.
            await self._catalog.writes.purge(file_id)
        _log.info("last record removed", file_id=file_id, state=found.sidecar.state.value)
        return freed
