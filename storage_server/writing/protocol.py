"""The write protocol: where a file is made durable, and what is left of a write that was not.

    intent committed                 from here on a crash is repaired by the replay
    sealed, size and digest compared of an upload: nothing is kept when they differ
    blob in place                    of an upload: nobody sees it
    sidecar written                  the file is as it says; nothing after it may undo it
    row, feed and end of the intent  in one statement

What each crash leaves: before the intent, a stage that the sweeper removes; up to the sidecar,
an intent whose replay finds no sidecar and removes the blob (on S3 sealing puts it in place, so
the intent comes before that); after it, an intent whose replay writes the row. A caller that
got UNAVAILABLE after the sidecar finds the file by repeating the commit or the request_id,
which replays the intent first (correctness 2 to 4).

Who writes, and why, stands in the intent; the row's statement takes it from there into the feed.

Every write of a sidecar and of its row goes through here, under the file's lock:

    async with writing.begin(draft, ChangeKind.CREATED, by=origin) as write:
        ...                                       # the blob, of an upload
        await write.sidecar(completed(draft, blob))
        return await write.row()

Except rows that are brought in step with a sidecar that is there already: a refresh
(`files/refresh.py`) writes them by `recording` alone, a repair (`cache/`) merges them. They need no
intent: a crash leaves the sidecar, which is read again.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from mesh.concurrency.keyed_locks import KeyedLocks
from mesh.errors import ArtStoreError, Unavailable
from storage_server.catalog.pending import NOTHING_COUNTED
from storage_server.domain.freshness import Freshness
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.naming import sidecar_path
from storage_server.domain.origin import OF_REPAIR, Origin
from storage_server.domain.sidecar import Sidecar
from storage_server.element.clock import Clock
from storage_server.element.state import Element
from storage_server.sidecars.reading import ReadSidecar
from storage_server.store.port import Identity, Store
from storage_server.writing.recording import Recording, SidecarUncertain, counted_of
from storage_server.writing.view import FileView


class Step(enum.Enum):
    """What a write does, in this order; the exhaustive model walks the same steps."""

    INTENT = "intent"
    SIDECAR = "sidecar"
    ROW = "row"


class Fate(enum.Enum):
    """What becomes of the intent of a write that was left without its sidecar."""

    ENDS = "ends"
    """There certainly is no sidecar, and nothing more of the write comes."""
    RENEWED = "renewed"
    """There certainly is none, but a store that fell silent may still put the blob in place: it
    begins anew, so that the replay looks again once that cannot be any more."""
    STAYS = "stays"
    """Nobody knows, or a blob that nobody can reach may lie in place: the replay decides."""


def fate_of_intent(error: BaseException | None, *, sends_blob: bool, stranded: bool) -> Fate:
    """The one place where this is decided.

    Args:
        error: by which the write was left.
        sends_blob: it is an upload; a change sends nothing but its sidecar.
        stranded: the blob could not be taken back.
    """
    known = error is None or isinstance(error, ArtStoreError)
    if stranded or not known or isinstance(error, SidecarUncertain):
        return Fate.STAYS
    return Fate.RENEWED if sends_blob and isinstance(error, Unavailable) else Fate.ENDS


class Writing:
    """Writes files of the element, one write of a file at a time."""

    def __init__(
        self, element: Element, recording: Recording, file_locks: KeyedLocks, clock: Clock
    ) -> None:
        self._element = element
        self._recording = recording
        self._file_locks = file_locks
        self._clock = clock

    @property
    def ttl_hours(self) -> int:
        """Hours that a row written now counts as fresh."""
        return self._recording.ttl_hours

    @asynccontextmanager
    async def hold(self, file_id: str) -> AsyncIterator[HeldFile]:
        """The file's lock, for whoever must read before it knows what to write."""
        async with self._file_locks.hold(file_id):
            yield HeldFile(self._recording)

    def require_fresh(self, freshness: Freshness) -> None:
        """Ask at once, and again under the file's lock, just before the write: a step may have
        waited for the lock.

        Raises:
            Aborted: as `Freshness.require`, by this element's clock or, where that is in doubt, by
                the others'.
        """
        freshness.require(self._clock.agreed_time())

    def is_held(self, file_id: str) -> bool:
        """Whether a write of the file is under way."""
        return self._file_locks.is_held(file_id)

    @asynccontextmanager
    async def begin(self, draft: Sidecar, kind: ChangeKind, *, by: Origin) -> AsyncIterator[Write]:
        """A write of a new file, from the lock and the intent on; see `HeldFile.begin`."""
        store = self._element.writing()
        async with (
            self.hold(draft.file_id) as held,
            held.begin(store, draft, kind, by=by) as write,
        ):
            yield write

    async def leave_to_replay(self, draft: Sidecar) -> None:
        """Put on record that a blob without a sidecar may lie where `draft` says."""
        async with self._file_locks.hold(draft.file_id):
            await self._recording.intend(draft, ChangeKind.CREATED, OF_REPAIR)


class HeldFile:
    """A file whose lock is held: nobody else writes it."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    @asynccontextmanager
    async def begin(
        self,
        store: Store,
        draft: Sidecar,
        kind: ChangeKind,
        *,
        by: Origin,
        over: ReadSidecar | None = None,
        before: Sidecar | None = None,
    ) -> AsyncIterator[Write]:
        """A write, from its intent on. What it leaves behind is decided here alone.

        Args:
            draft: what is to be written; of an upload still without size and digests.
            by: whose write it is, for the feed.
            over: the sidecar that is replaced, as just read; None for a new one.
            before: what the file was, where its sidecar lies elsewhere; that of `over` by default.

        Raises:
            Unavailable: the intent is not certain, and nothing was begun; or the storage.
        """
        if before is None and over is not None:
            before = over.sidecar
        counted = NOTHING_COUNTED if before is None else await counted_of(store, before)
        intent = await self._recording.intend(draft, kind, by, counted)
        write = Write(self._recording, store, kind, over)
        error: BaseException | None = None
        try:
            yield write
        except BaseException as exc:
            error = exc
            raise
        finally:
            if not write.is_durable:
                await self._leave(draft, kind, intent, write.fate(error))

    async def row(self, found: ReadSidecar, kind: ChangeKind, *, blob_present: bool) -> FileView:
        """The last step of a write that was cut off before it: the sidecar is there, as read.

        Raises: as `Write.row`.
        """
        return await self._recording.write_row(
            found.sidecar, found.identity, kind, blob_present=blob_present
        )

    async def _leave(self, draft: Sidecar, kind: ChangeKind, intent: int, fate: Fate) -> None:
        # What cannot be recorded of this is left to the replay as well.
        with suppress(ArtStoreError):
            if fate is Fate.RENEWED:
                # Nobody's: it sent no sidecar, and one that comes is of an earlier write.
                await self._recording.intend(draft, kind, OF_REPAIR)
            if fate is not Fate.STAYS:
                await self._recording.end_intent(intent)


class Write:
    """A write under way, its intent on record: `sidecar`, then `row`, each once."""

    def __init__(
        self, recording: Recording, store: Store, kind: ChangeKind, over: ReadSidecar | None
    ) -> None:
        self._recording = recording
        self._store = store
        self._kind = kind
        self._over = over
        self._written: tuple[Sidecar, Identity] | None = None
        self._stranded = False

    @property
    def is_durable(self) -> bool:
        """Its sidecar is there."""
        return self._written is not None

    def fate(self, error: BaseException | None) -> Fate:
        """What becomes of its intent when it is left so."""
        created = self._kind is ChangeKind.CREATED
        return fate_of_intent(error, sends_blob=created, stranded=self._stranded)

    def strands_blob(self) -> None:
        """What was put into the store could not be taken back: the intent stays if this fails."""
        self._stranded = True

    async def sidecar(self, sidecar: Sidecar) -> None:
        """Write it, durably: from here on the file is as it says.

        Raises:
            SidecarUncertain: it may have been written.
            Aborted: somebody else changed it (reason REVISION_CONFLICT).
            ArtStoreError: it was not written.
        """
        over = self._over
        identity = await self._recording.write_sidecar(
            self._store,
            sidecar,
            expected=None if over is None else over.identity,
            path="" if over is None else over.path,
        )
        self._written = sidecar, identity

    @property
    def path(self) -> str:
        """Where the sidecar lies that was written."""
        sidecar, _ = self._written_sidecar()
        path = "" if self._over is None else self._over.path
        return path or sidecar_path(sidecar.storage_path, sidecar.storage_filename)

    async def row(self, *, blob_present: bool = True) -> FileView:
        """Row, feed and the end of the file's intents, in one statement.

        Args:
            blob_present: False of what has no bytes.

        Raises:
            Unavailable: reason ROW_PENDING; the file is as asked, and the replay writes its row.
        """
        sidecar, identity = self._written_sidecar()
        return await self._recording.write_row(
            sidecar, identity, self._kind, blob_present=blob_present
        )

    def _written_sidecar(self) -> tuple[Sidecar, Identity]:
        if self._written is None:
            raise RuntimeError("a row follows its sidecar")
        return self._written
