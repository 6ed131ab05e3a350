"""Replay of intents: a write that was cut off between its sidecar and its row gets its row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import structlog

from mesh.errors import Aborted, ArtStoreError, DataLoss, Unavailable
from storage_server.catalog.pending import PendingWrite, that_wrote
from storage_server.catalog.port import FileCatalog
from storage_server.domain.decisions import kind_of_repair
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.sidecar import FileState, Sidecar
from storage_server.element.state import Element
from storage_server.sidecars.locate import holds_bytes, locate, remove_bytes
from storage_server.sidecars.reading import ReadSidecar
from storage_server.store.port import SIDECAR_SUFFIX, Store
from storage_server.writing.protocol import HeldFile, Writing
from storage_server.writing.remains import Remains

INTERVAL_SECONDS = 10.0
# How long what was sent to a store may still arrive after its sender gave up, or died.
LANDING_TIME = timedelta(seconds=30)

_log = structlog.stdlib.get_logger(__name__)


class Replay:
    """Replays from the sidecar, under the file's lock.

    Args:
        remains: of a file that was erased; removed before its row says so.
    """

    def __init__(
        self, element: Element, catalog: FileCatalog, writing: Writing, remains: Remains
    ) -> None:
        self._element = element
        self._catalog = catalog
        self._writing = writing
        self._remains = remains
        self._started_at = self._writes_since = datetime.now(UTC)

    def take_over(self) -> None:
        """This process has just become the writer: no other sends anything from now on."""
        self._writes_since = datetime.now(UTC)

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

    async def awaits(self, store: Store, file_id: str, sent_at: datetime) -> bool:
        """Whether something of a file may still arrive, by an intent or without one.

        Args:
            sent_at: when the latter was, as far as this process knows.
        """
        is_late = store.lands_late and self._may_still_land(store, sent_at)
        return is_late or bool(await self._catalog.pending.of_file(file_id))

    async def before_change(self, held: HeldFile, file_id: str) -> bool:
        """Replay what is pending for a file that is about to be changed; whether anything is.

        The row of the change ends all intents, and would leave a write that was made untold.

        Raises:
            Aborted: the file is being purged (reason REVISION_CONFLICT).
            Unavailable: storage or database; nothing of the change may be done.
        """
        writes = await self._catalog.pending.of_file(file_id)
        for write in writes:
            await self._replay_held(held, write)
        purged = any(one.kind is ChangeKind.PURGED for one in writes)
        if purged and await self._catalog.pending.of_file(file_id):
            # Its removal may still come; it would take away what is written now.
            raise Aborted(
                "the file's last record is being removed; look again",
                reason="REVISION_CONFLICT",
            )
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
        if write.kind is ChangeKind.PURGED:
            await self._not_purged(store, write)
            return
        landed = [one for one in intents if await self._has_landed(one, found)]
        if not landed and any(self._may_still_land(store, one.created_at) for one in intents):
            return
        sidecar = found.sidecar
        if sidecar.state is FileState.ERASED:
            await self._remains.remove(store, write.file_id, found.path)
        made = that_wrote(intents, sidecar.revision, found.digest)
        if sidecar.state is FileState.GONE and not await self._catalog.pulls.get(write.file_id):
            # A stub is written before its bytes go; those of a file that comes back are to stay.
            await remove_bytes(store, sidecar)
        if made is not None:
            kind = _kind(made.kind, sidecar)
        else:
            row = await self._catalog.reads.get(write.file_id)
            kind = kind_of_repair(sidecar.state, row.sidecar.state if row else None)
        blob_present = await holds_bytes(store, sidecar)
        try:
            await held.row(found, kind, blob_present=blob_present)
        except Unavailable as exc:
            # To whoever wrote it, its file is as asked. Who asks for a replay wants something else.
            raise Unavailable(
                "an earlier write waits for the database, so nothing was done; try again",
                reason="DATABASE_DOWN",
            ) from exc
        _log.info("write replayed", file_id=write.file_id, kind=kind)

    async def _not_purged(self, store: Store, write: PendingWrite) -> None:
        """The sidecar is there: it was not removed, or another one has come since."""
        if not self._may_still_land(store, write.created_at):
            await self._catalog.pending.end_pending(write.pending_id)

    async def _without_sidecar(self, store: Store, write: PendingWrite) -> None:
        """The write did not happen: end its intent, and leave no blob that nobody can reach.

        Unless it was a purge, whose sidecar is gone as it should be.
        """
        if write.kind is ChangeKind.PURGED:
            await self._catalog.writes.purge(write.file_id)
            return
        if self._may_still_land(store, write.created_at):
            return
        # An open upload can still be committed, and its blob may be in place already; so with a
        # file that comes from another element.
        if write.kind is ChangeKind.CREATED and not (
            any(one.file_id == write.file_id for one in await self._catalog.uploads.list_open())
            or await self._catalog.pulls.get(write.file_id)
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
        if write.kind is ChangeKind.PURGED:
            return False
        if write.revision is not None:
            return write.wrote(found.sidecar.revision, found.digest)
        row = await self._catalog.reads.get(write.file_id)
        return row is not None and row.digest != found.digest

    def _may_still_land(self, store: Store, sent_at: datetime) -> bool:
        """What was sent lately, by this process or to a store that outlives its senders.

        Another process may have sent it until this one took over, however old its intent is: an
        upload has one from before its bytes are put together.
        """
        if store.lands_late:
            sent_at = max(sent_at, self._writes_since)
        elif sent_at < self._started_at:
            return False
        return datetime.now(UTC) - sent_at < LANDING_TIME


def _kind(kind: ChangeKind, sidecar: Sidecar) -> ChangeKind:
    """What to tell the feed: an intent that was not carried out left the file as it was."""
    if kind is ChangeKind.DELETED and sidecar.state is not FileState.DELETED:
        return ChangeKind.UPDATED
    if kind is ChangeKind.UNDELETED and sidecar.state is FileState.DELETED:
        return ChangeKind.UPDATED
    if sidecar.state is FileState.ERASED:
        return ChangeKind.ERASED
    return ChangeKind.UPDATED if kind is ChangeKind.ERASED else kind
