"""The order in which an upload becomes a file (correctness 2 and 3).

    intent committed                 from here on a crash is repaired by the replay
    seal, compare size and digest    nothing is kept when they differ
    blob in place                    nobody sees it
    sidecar written                  the file exists; nothing after it may undo it
    row, feed and end of the intent  in one statement

What each crash leaves: before the intent, a stage that the sweeper removes; up to the sidecar,
an intent whose replay finds no sidecar and removes the blob (on S3 sealing puts it in place, so
the intent comes before that); after it, an intent whose replay writes the row. A caller that
got UNAVAILABLE after the sidecar finds the file by repeating the commit or the request_id,
which replays the intent first.

What was sent to a store that then fell silent may still be done by it: the intent of such an
upload begins anew, so that the replay looks again once that cannot be any more.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from mesh.errors import ArtStoreError, DataLoss, Unavailable
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.sidecar import Sidecar
from storage_server.element.state import Element
from storage_server.store.port import SealedBlob, Stage
from storage_server.uploads.header import completed
from storage_server.writing.keyed_locks import KeyedLocks
from storage_server.writing.recording import Recording, SidecarUncertain
from storage_server.writing.view import FileView


class Commit:
    """Makes a file of a stage that has all its bytes."""

    def __init__(self, element: Element, recording: Recording, file_locks: KeyedLocks) -> None:
        self._element = element
        self._recording = recording
        self._file_locks = file_locks

    async def run(
        self,
        stage: Stage,
        draft: Sidecar,
        *,
        check: Callable[[SealedBlob], None],
        deadline: float | None,
        on_file: Callable[[], None],
        on_failure: Callable[[], Awaitable[bool]],
    ) -> FileView:
        """From the intent to the row.

        Args:
            draft: the sidecar without size and digests.
            check: raises when the blob is not what was declared; may be called twice.
            deadline: the caller's, in seconds of `time.monotonic`; None when it has none. A store
                may take that long to put the blob together.
            on_file: called as soon as the file exists, whatever becomes of its row.
            on_failure: called when there certainly is no file. True says that no blob is left
                in place that nobody can reach, so that the intent may end.

        Raises:
            SidecarUncertain: it is open whether there is a file; the replay decides.
            Unavailable: reason ROW_PENDING when the file exists.
            ArtStoreError: there is no file.
        """
        store = self._element.writing()
        async with self._file_locks.hold(draft.file_id):
            pending_id = await self._recording.intend(draft, ChangeKind.CREATED)
            try:
                seconds_left = None if deadline is None else deadline - time.monotonic()
                blob = await stage.seal(check, seconds_left=seconds_left)
                await stage.place()
                sidecar = completed(draft, blob)
                identity = await self._recording.write_sidecar(store, sidecar, expected=None)
            except SidecarUncertain:
                raise
            except ArtStoreError as exc:
                may_end = await on_failure()
                if may_end and isinstance(exc, Unavailable):
                    may_end = await self._recording.renew_intent(draft, ChangeKind.CREATED)
                if may_end:
                    await self._recording.drop_intent(pending_id)
                raise
            on_file()
            return await self._recording.write_row(sidecar, identity, ChangeKind.CREATED)

    async def leave_to_replay(self, draft: Sidecar) -> None:
        """Put on record that a blob without a sidecar may lie where `draft` says."""
        async with self._file_locks.hold(draft.file_id):
            await self._recording.intend(draft, ChangeKind.CREATED)


def compare(blob: SealedBlob, *, size_bytes: int | None, sha256: tuple[str | None, ...]) -> None:
    """Raise DataLoss when the blob is not what was declared."""
    if size_bytes is not None and blob.size_bytes != size_bytes:
        raise DataLoss(
            f"{blob.size_bytes} bytes came, {size_bytes} were declared", reason="SIZE_MISMATCH"
        )
    for declared in sha256:
        if declared is not None and declared != blob.sha256:
            raise DataLoss(
                f"the bytes have SHA-256 {blob.sha256}, {declared} was declared",
                reason="CHECKSUM_MISMATCH",
            )
