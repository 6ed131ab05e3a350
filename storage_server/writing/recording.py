"""The steps of a write, each by itself; `protocol` says in which order, and what may fail."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import structlog

from mesh.errors import Aborted, ArtStoreError, ResourceExhausted, StoreReadOnly, Unavailable
from storage_server.catalog.pending import NOTHING_COUNTED, Counted
from storage_server.catalog.port import FileCatalog
from storage_server.catalog.rows import has_blob
from storage_server.catalog.writes import Guarded
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.modes import Mode
from storage_server.domain.naming import sidecar_path
from storage_server.domain.origin import Origin
from storage_server.domain.sidecar import FileState, Sidecar, digest, encode
from storage_server.element.state import Element
from storage_server.element.writer import WriterLock
from storage_server.sidecars.locate import holds_bytes
from storage_server.store.port import Identity, Store
from storage_server.writing.view import FileView

_log = structlog.stdlib.get_logger(__name__)


class SidecarUncertain(Unavailable):
    """It is open whether the sidecar was written: keep blob and intent, the replay decides."""


async def counted_of(store: Store, sidecar: Sidecar) -> Counted:
    """What the counters have of a file whose sidecar says so.

    Raises:
        Unavailable: the storage does not answer.
    """
    has_bytes = await holds_bytes(store, sidecar)
    return Counted(
        homes=int(sidecar.state is FileState.ACTIVE),
        size_bytes=sidecar.size_bytes if has_bytes else 0,
    )


class Recording:
    """Writes intents, sidecars and rows. The caller holds the file's lock.

    Args:
        ttl_hours: of new rows, by mode.
    """

    def __init__(
        self,
        element: Element,
        catalog: FileCatalog,
        writer: WriterLock,
        *,
        ttl_hours: Callable[[Mode], int],
    ) -> None:
        self._element = element
        self._catalog = catalog
        self._writer = writer
        self._ttl_hours = ttl_hours

    @property
    def ttl_hours(self) -> int:
        """Hours that a row written now counts as fresh."""
        return self._ttl_hours(self._element.mode)

    async def intend(
        self,
        sidecar: Sidecar,
        kind: ChangeKind,
        by: Origin,
        counted: Counted = NOTHING_COUNTED,
    ) -> int:
        """Commit the intent to write `sidecar`; answers its id.

        Args:
            counted: of the file as it is.
        """
        # What an upload will write is not known before its bytes are.
        uploaded = kind is ChangeKind.CREATED
        return await self._catalog.pending.begin_write(
            sidecar.file_id,
            sidecar_path(sidecar.storage_path, sidecar.storage_filename),
            kind,
            sidecar.request_id,
            by=by,
            revision=sidecar.revision,
            digest=None if uploaded else digest(sidecar),
            counted=counted,
        )

    async def end_intent(self, pending_id: int) -> None:
        """The sidecar was certainly not touched."""
        await self._catalog.pending.end_pending(pending_id)

    async def write_sidecar(
        self, store: Store, sidecar: Sidecar, *, expected: Identity | None, path: str = ""
    ) -> Identity:
        """Write it, and find out what happened if the store does not say.

        Args:
            path: where the sidecar lies under another form of its name; where it says by default.

        Raises:
            SidecarUncertain: it may have been written.
            Aborted: somebody else changed it (reason REVISION_CONFLICT).
            ArtStoreError: it was not written.
        """
        path = path or sidecar_path(sidecar.storage_path, sidecar.storage_filename)
        content = encode(sidecar)
        if not store.conditional_put:
            await self._writer.check()
        try:
            return await store.write_sidecar(path, content, expected=expected)
        except (Unavailable, Aborted, StoreReadOnly, ResourceExhausted) as exc:
            # The answer may have been lost, and a repeat then meets its own work. A store that
            # refuses may do so after the sidecar is there, when its folder is forced to the disk.
            return await self._find_out(store, path, content, exc)

    async def _find_out(
        self, store: Store, path: str, content: bytes, error: ArtStoreError
    ) -> Identity:
        refused = not isinstance(error, Unavailable)
        try:
            found = await store.read_sidecar(path)
        except ArtStoreError:
            found, refused = None, isinstance(error, Aborted)
        if found is not None and found[0] == content:
            return found[1]
        if refused:
            raise error
        raise SidecarUncertain(
            f"{error.message}; the write may have happened, or still happen",
            reason=error.reason if isinstance(error, Unavailable) else "STORAGE_DOWN",
        ) from error

    async def write_row(
        self,
        sidecar: Sidecar,
        identity: Identity,
        kind: ChangeKind,
        *,
        blob_present: bool = True,
        guarded: Guarded | None = None,
    ) -> FileView:
        """Row, feed and the end of the file's intents.

        Args:
            blob_present: False for a tombstone whose blob has gone.
            guarded: for a lazy refresh, see `Writes.commit_row`.

        Raises:
            Unavailable: the row is not certain; the intent stays and will be replayed.
            Aborted: a lazy refresh was overtaken.
        """
        now = datetime.now(UTC)
        ttl = self.ttl_hours
        write = partial(
            self._catalog.writes.commit_row,
            sidecar,
            identity,
            kind,
            now=now,
            cache_ttl_hours=ttl,
            blob_present=blob_present,
            guarded=guarded,
        )
        try:
            committed = await write()
        except Unavailable:
            # A connection that died meanwhile fails once; a repeat counts nothing twice.
            try:
                committed = await write()
            except Unavailable as exc:
                _log.warning("row waits for the database", file_id=sidecar.file_id)
                raise Unavailable(
                    f"file {sidecar.file_id} is stored as asked, but its row waits for the "
                    "database; repeat the call with the same request_id, or read the file",
                    reason="ROW_PENDING",
                    metadata={"file_id": sidecar.file_id},
                ) from exc
        return FileView(
            sidecar,
            now,
            ttl,
            cache_expired=False,
            sequence=committed.sequence,
            blob_present=has_blob(sidecar, blob_present=blob_present),
        )
