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

Every write of a sidecar and of its row goes through here, under the file's lock:

    async with writing.begin(draft, ChangeKind.CREATED) as write:
        ...                                       # the blob, of an upload
        await write.sidecar(completed(draft, blob))
        return await write.row()
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from mesh.concurrency.keyed_locks import KeyedLocks
from mesh.errors import ArtStoreError, Unavailable
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.sidecar import Sidecar
from storage_server.element.state import Element
from storage_server.sidecars.reading import ReadSidecar
from storage_server.store.port import Identity, Store
from storage_server.writing.recording import Recording, SidecarUncertain
from storage_server.writing.view import FileView


class Step(enum.Enum):
    """What a write does, in this order; the exhaustive model walks the same steps."""

    INTENT = "intent"
    SIDECAR = "sidecar"
    ROW = "row"


class Left(enum.Enum):
    """How a write was left without having written its sidecar."""

    REFUSED = "refused"
    """There certainly is none, and nothing more of it comes."""
    SILENT = "silent"
    """There certainly is none, but the store fell silent, and may still put the blob in place."""
    STRANDED = "stranded"
    """There certainly is none, but a blob that nobody can reach may lie in place."""
    OPEN = "open"
    """Nobody knows: its answer was lost, or the write was cut off."""


class Fate(enum.Enum):
    """What becomes of the intent of a write that was left without its sidecar."""

    ENDS = "ends"
    RENEWED = "renewed"
    """It begins anew, so that the replay looks again once nothing can come any more."""
    STAYS = "stays"
    """The replay decides."""


def fate_of_intent(left: Left) -> Fate:
    """Pure: the protocol and the exhaustive model both go by it."""
    if left is Left.REFUSED:
        return Fate.ENDS
    return Fate.RENEWED if left is Left.SILENT else Fate.STAYS


class Writing:
    """Writes files of the element, one write of a file at a time."""

    def __init__(self, element: Element, recording: Recording, file_locks: KeyedLocks) -> None:
        self._element = element
        self._recording = recording
        self._file_locks = file_locks

    @property
    def ttl_hours(self) -> int:
        """Hours that a row written now counts as fresh."""
        return self._recording.ttl_hours

    @asynccontextmanager
    async def hold(self, file_id: str) -> AsyncIterator[HeldFile]:
        """The file's lock, for whoever must read before it knows what to write."""
        async with self._file_locks.hold(file_id):
            yield HeldFile(self._recording)

    def is_held(self, file_id: str) -> bool:
        """Whether a write of the file is under way."""
        return self._file_locks.is_held(file_id)

    @asynccontextmanager
    async def begin(self, draft: Sidecar, kind: ChangeKind) -> AsyncIterator[Write]:
        """A write of a new file, from the lock and the intent on; see `HeldFile.begin`."""
        store = self._element.writing()
        async with (
            self.hold(draft.file_id) as held,
            held.begin(store, draft, kind) as write,
        ):
            yield write

    async def leave_to_replay(self, draft: Sidecar) -> None:
        """Put on record that a blob without a sidecar may lie where `draft` says."""
        async with self._file_locks.hold(draft.file_id):
            await self._recording.intend(draft, ChangeKind.CREATED)


class HeldFile:
    """A file whose lock is held: nobody else writes it."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    @asynccontextmanager
    async def begin(
        self, store: Store, draft: Sidecar, kind: ChangeKind, *, over: ReadSidecar | None = None
    ) -> AsyncIterator[Write]:
        """A write, from its intent on. What it leaves behind is decided here alone.

        Args:
            draft: what is to be written; of an upload still without size and digests.
            over: the sidecar that is replaced, as just read; None for a new one.

        Raises:
            Unavailable: the intent is not certain, and nothing was begun.
        """
        intent = await self._recording.intend(draft, kind)
        write = Write(self._recording, store, kind, over)
        error: BaseException | None = None
        try:
            yield write
        except BaseException as exc:
            error = exc
            raise
        finally:
            if write.left:
                await self._leave(draft, kind, intent, write.left_by(error))

    async def row(self, found: ReadSidecar, kind: ChangeKind, *, blob_present: bool) -> FileView:
        """The last step of a write that was cut off before it: the sidecar is there, as read.

        Raises: as `Write.row`.
        """
        return await self._recording.write_row(
            found.sidecar, found.identity, kind, blob_present=blob_present
        )

    async def _leave(self, draft: Sidecar, kind: ChangeKind, intent: int, left: Left) -> None:
        fate = fate_of_intent(left)
        # What cannot be recorded of this is left to the replay as well.
        with suppress(ArtStoreError):
            if fate is Fate.RENEWED:
                await self._recording.intend(draft, kind)
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
    def left(self) -> bool:
        """It has no sidecar, or none that is known of."""
        return self._written is None

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

    async def row(self) -> FileView:
        """Row, feed and the end of the file's intents, in one statement.

        Raises:
            Unavailable: reason ROW_PENDING; the file is as asked, and the replay writes its row.
        """
        if self._written is None:
            raise RuntimeError("a row follows its sidecar")
        sidecar, identity = self._written
        return await self._recording.write_row(sidecar, identity, self._kind)

    def left_by(self, error: BaseException | None) -> Left:
        """How it was left: by an error, or by nothing."""
        if error is not None and not isinstance(error, ArtStoreError):
            return Left.OPEN
        if isinstance(error, SidecarUncertain):
            return Left.OPEN
        if self._stranded:
            return Left.STRANDED
        # A change has sent nothing but its sidecar.
        silent = self._kind is ChangeKind.CREATED and isinstance(error, Unavailable)
        return Left.SILENT if silent else Left.REFUSED
