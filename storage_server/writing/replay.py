"""Replay of intents: a write that was cut off between its sidecar and its row gets its row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import structlog

from mesh.errors import ArtStoreError, DataLoss, Unavailable
from storage_server.catalog.pending import PendingWrite, that_wrote
from storage_server.catalog.port import FileCatalog
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.sidecar import FileState, Sidecar
from storage_server.element.state import Element
from storage_server.sidecars.locate import locate, locate_blob
from storage_server.sidecars.reading import ReadSidecar
from storage_server.store.port import SIDECAR_SUFFIX, Store
from storage_server.writing.protocol import HeldFile, Writing

INTERVAL_SECONDS = 10.0
# How long a sidecar that was sent may still arrive after its sender gave up.
LANDING_TIME = timedelta(seconds=30)

_log = structlog.stdlib.get_logger(__name__)


class Replay:
    """Replays from the sidecar, under the file's lock."""

    def __init__(self, element: Element, catalog: FileCatalog, writing: Writing) -> None:
        self._element = element
        self._catalog = catalog
        self._writing = writing
        self._started_at = datetime.now(UTC)

    async def all(self) -> None:
        """Replay what there is; one that fails leaves the others alone."""
        for write in await self._catalog.pending.list_pending():
            if self._writing.is_held(write.file_id):
                # Under way, and perhaps for long: a large resumed upload is read again.
                continue
            try:
                await self._replay(write)
            except ArtStoreError as exc:
                _log.warning("write not replayed", file_id=write.file_id, reason=exc.message)

    async def of_request(self, request_id: str) -> None:
        """Replay uploads with this request id, so that a repeat finds their files."""
        for write in await self._catalog.pending.of_request(request_id):
            await self._replay(write)

    async def of_file(self, file_id: str) -> bool:
        """Replay what is pending for one file; whether nothing of it can come any more.

        The caller does not hold the file's lock.
        """
        writes = await self._catalog.pending.of_file(file_id)
        for write in writes:
            await self._replay(write)
        return not writes or not await self._catalog.pending.of_file(file_id)

    async def before_change(self, held: HeldFile, file_id: str) -> bool:
        """Replay what is pending for a file that is about to be changed; whether anything is.

        The row of the change ends all intents, and would leave a write that was made untold.

        Raises:
            Unavailable: storage or database; nothing of the change may be done.
        """
        writes = await self._catalog.pending.of_file(file_id)
        for write in writes:
            await self._replay_held(held, write)
        return bool(writes)

    async def _replay(self, write: PendingWrite) -> None:
        async with self._writing.hold(write.file_id) as held:
            await self._replay_held(held, write)

    async def _replay_held(self, held: HeldFile, write: PendingWrite) -> None:
        intents = await self._catalog.pending.of_file(write.file_id)
        if not intents:
            return
        store = self._element.writing()
        try:
            found = await locate(store, write.file_id, write.path)
        except DataLoss as exc:
            _log.warning("invalid sidecar not replayed", file_id=write.file_id, reason=exc.message)
            await self._catalog.pending.end_pending(write.pending_id)
            return
        if found is None:
            await self._element.prove()
            await self._without_sidecar(store, write)
            return
        landed = [one for one in intents if await self._has_landed(one, found)]
        if not landed and any(self._may_still_land(store, one) for one in intents):
            return
        sidecar = found.sidecar
        made = that_wrote(intents, sidecar.revision, found.digest) or write
        blob_present = await _has_blob(store, sidecar)
        try:
            await held.row(found, _kind(made.kind, sidecar), blob_present=blob_present)
        except Unavailable as exc:
            # To whoever wrote it, its file is as asked. Who asks for a replay wants something else.
            raise Unavailable(
                "an earlier write waits for the database, so nothing was done; try again",
                reason="DATABASE_DOWN",
            ) from exc
        _log.info("write replayed", file_id=write.file_id, kind=made.kind)

    async def _without_sidecar(self, store: Store, write: PendingWrite) -> None:
        """The write did not happen: end its intent, and leave no blob that nobody can reach."""
        if self._may_still_land(store, write):
            return
        # An open upload can still be committed, and its blob may be in place already.
        if write.kind is ChangeKind.CREATED and not any(
            upload.file_id == write.file_id for upload in await self._catalog.uploads.list_open()
        ):
            blob = write.path.removesuffix(SIDECAR_SUFFIX)
            await store.delete_blob(blob)
            if not store.lands_late:
                # Of an upload in one stream that a store which did not write could not remove.
                await store.discard_stage(write.file_id, blob)
        await self._catalog.pending.end_pending(write.pending_id)

    async def _has_landed(self, write: PendingWrite, found: ReadSidecar) -> bool:
        """Whether the sidecar is the one that was written.

        An intent of an earlier version doesn't say: then it is not what the row still says.
        """
        if write.kind is ChangeKind.CREATED:
            return True
        if write.revision is not None:
            return write.wrote(found.sidecar.revision, found.digest)
        row = await self._catalog.reads.get(write.file_id)
        return row is not None and row.digest != found.digest

    def _may_still_land(self, store: Store, write: PendingWrite) -> bool:
        """A sidecar sent lately, by this process or to a store that outlives its senders."""
        if write.created_at < self._started_at and not store.lands_late:
            return False
        return datetime.now(UTC) - write.created_at < LANDING_TIME


def _kind(kind: ChangeKind, sidecar: Sidecar) -> ChangeKind:
    """What to tell the feed: an intent that was not carried out left the file as it was."""
    if kind is ChangeKind.DELETED and sidecar.state is not FileState.DELETED:
        return ChangeKind.UPDATED
    if kind is ChangeKind.UNDELETED and sidecar.state is FileState.DELETED:
        return ChangeKind.UPDATED
    return kind


async def _has_blob(store: Store, sidecar: Sidecar) -> bool:
    return sidecar.state is not FileState.DELETED or await locate_blob(store, sidecar) is not None
