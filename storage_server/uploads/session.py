"""One resumable upload in memory: its stage, its one writer, what of it is on record."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from mesh.concurrency.unbroken import Unbroken
from mesh.errors import (
    Aborted,
    ArtStoreError,
    DataLoss,
    FailedPrecondition,
    NotFound,
    OutOfRange,
    ResourceExhausted,
    StoreReadOnly,
    Unavailable,
)
from storage_server.catalog.uploads import UploadRow, Uploads
from storage_server.domain.sidecar import Sidecar
from storage_server.element.space import Space
from storage_server.element.state import Element
from storage_server.store.port import SIDECAR_SUFFIX, SealedBlob, Stage, StagedState, Store
from storage_server.uploads.commit import Commit, compare
from storage_server.uploads.header import Header
from storage_server.uploads.streaming import check_chunk, check_not_beyond
from storage_server.writing.view import FileView

CHECKPOINT_BYTES = 64 * 1024 * 1024

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SessionParts:
    """What every session needs; one per server."""

    element: Element
    space: Space
    commit: Commit
    uploads: Uploads
    unbroken: Unbroken


class Writer:
    """One WriteUpload stream. `interrupted` is done with the error that ends it from outside."""

    def __init__(self) -> None:
        self.interrupted: asyncio.Future[ArtStoreError] = asyncio.get_running_loop().create_future()

    def interrupt(self, error: ArtStoreError) -> None:
        """End the stream with `error`."""
        if not self.interrupted.done():
            self.interrupted.set_result(error)


class Session:
    """See the module. All changes happen one after the other, under `turn`.

    Attributes:
        row: as on record.
        sidecar: of the file to be, without size and digests.
        is_file: the upload is committed.
        checked: whether `is_file` is certain: not after a commit that ended in an error.
        active_at: monotonic seconds of the last call.
    """

    def __init__(
        self, parts: SessionParts, row: UploadRow, header: Header, sidecar: Sidecar
    ) -> None:
        self.row = row
        self.header = header
        self.sidecar = sidecar
        self.turn = asyncio.Lock()
        self.is_file = row.committed
        self.checked = row.committed
        self.active_at = time.monotonic()
        self._parts = parts
        self._stage: Stage | None = None
        self._writer: Writer | None = None
        self._may_be_wrong = False
        self._gone = False

    @property
    def upload_id(self) -> str:
        """Its id."""
        return self.row.upload_id

    @property
    def busy(self) -> bool:
        """A stream is writing, or something is being changed."""
        return self._writer is not None or self.turn.locked()

    def require_present(self) -> None:
        """Raise NotFound once it was aborted."""
        if self._gone:
            raise NotFound(f"no upload {self.upload_id!r}")

    # --- writing ---------------------------------------------------------------------

    async def take_over(self) -> Writer:
        """Become the writer; an older stream ends ABORTED.

        Raises:
            FailedPrecondition: committed already, or the element left its writing mode.
        """
        async with self.turn:
            self._require_open()
            self._end_writer()
            self._writer = Writer()
            return self._writer

    async def write(self, writer: Writer, offset: int, data: bytes, crc32c: int | None) -> None:
        """Take a chunk; what of it was accepted before is skipped.

        Raises:
            Aborted: a newer stream has the upload.
            OutOfRange: it begins beyond what was accepted.
            DataLoss: its checksum differs, or it goes beyond the declared size.
            ResourceExhausted: no room, or over 2 MiB.
            StoreReadOnly: the store takes no writes any more.
        """
        async with self.turn:
            if self._writer is not writer:
                raise _interruption(writer)
            self._require_open()
            self.active_at = time.monotonic()
            stage = self._stage or await self._open_stage()
            if offset < stage.offset and self._may_be_wrong:
                await self._go_back(stage, offset)
            at = stage.offset
            if offset > at:
                raise _gap(offset, at)
            if offset + len(data) <= at:
                return
            check_chunk(data, crc32c)
            end = offset + len(data)
            check_not_beyond(end, self.header.size_bytes)
            self._parts.space.extend(self.upload_id, end)
            await self._append(stage, data if offset == at else data[at - offset :])
            if stage.offset - self.row.stage.committed_size_bytes >= CHECKPOINT_BYTES:
                await self._checkpoint(stage)

    async def end(self, writer: Writer) -> int:
        """The stream ended, cleanly or not: keep what came, and answer how much that is.

        Raises:
            Aborted: a newer stream has the upload.
            Unavailable: what came could not be put on record; it may be lost in a restart.
        """
        async with self.turn:
            if self._writer is not writer:
                raise _interruption(writer)
            self._writer = None
            if self._stage is not None and not self._gone:
                await self._checkpoint(self._stage)
            return self.row.stage.committed_size_bytes

    async def committed_size(self) -> int:
        """Bytes on record; while nobody writes, those that came but are not yet are put there."""
        async with self.turn:
            stage = self._stage
            pending = stage is not None and stage.offset > self.row.stage.committed_size_bytes
            if stage is not None and pending and self._writer is None and not self.is_file:
                try:
                    await self._checkpoint(stage)
                except (Unavailable, StoreReadOnly, ResourceExhausted) as exc:
                    _log.info("progress not recorded", reason=exc.message)
            return self.row.stage.committed_size_bytes

    # --- ending ----------------------------------------------------------------------

    async def commit(
        self, size_bytes: int | None, sha256: str | None, *, deadline: float | None
    ) -> FileView:
        """Make the file. The caller holds `turn` and knows that there is none yet.

        Args:
            deadline: see `Commit.run`.

        Raises:
            OutOfRange: size_bytes is more than was sent.
            DataLoss: size or digest differ; the upload stays open.
        """
        self._require_open()
        self._end_writer()
        stage = self._stage or await self._open_stage()
        self._check_size(stage, size_bytes)
        mismatch = False

        def check(blob: SealedBlob) -> None:
            nonlocal mismatch
            mismatch = True
            compare(blob, size_bytes=None, sha256=(sha256, self.header.sha256))
            mismatch = False

        async def on_failure() -> bool:
            if mismatch:
                await self._reopen(stage)
            else:
                # Closes the stage when it is of no more use; the next call opens another one.
                with suppress(ArtStoreError):
                    await self._checkpoint(stage)
            # What is left belongs to the upload, which stays open.
            return True

        self.checked = False
        view = await self._parts.commit.run(
            stage,
            self.sidecar,
            check=check,
            deadline=deadline,
            on_file=self._became_file,
            on_failure=on_failure,
        )
        self.checked = True
        await self.close()
        return view

    async def abort(self) -> None:
        """Leave nothing. The caller holds `turn` and knows that there is no file.

        What a store that does not write now cannot remove goes when it writes again: the stage
        by the sweeper, a blob in place by the replay.
        """
        self._end_writer()
        self._gone = True
        stage, self._stage = self._stage, None
        try:
            await self._remove(stage)
        except StoreReadOnly:
            await self._parts.commit.leave_to_replay(self.sidecar)
        await self._parts.uploads.delete(self.upload_id)
        self._parts.space.release(self.upload_id)

    async def _remove(self, stage: Stage | None) -> None:
        store = self._parts.element.writing()
        if stage is not None:
            await stage.discard()
        else:
            if self.row.stage.key:
                await store.discard_stage(self.row.stage.key, self.row.path)
            # A commit that was cut off may have put the blob in place.
            if await store.stat_blob(self.row.path) is not None:
                await self._remove_unless_a_file(store)

    async def close(self) -> None:
        """Let go of the stage; its bytes stay."""
        stage, self._stage = self._stage, None
        if stage is not None:
            try:
                await stage.close()
            except ArtStoreError as exc:
                _log.warning("stage not closed", reason=exc.message)

    def interrupt(self, error: ArtStoreError) -> None:
        """End the stream that is writing, if one is."""
        if self._writer is not None:
            self._writer.interrupt(error)
            self._writer = None

    # --- inside ----------------------------------------------------------------------

    async def _remove_unless_a_file(self, store: Store) -> None:
        """Remove the blob in place unless it has a sidecar, under whatever form of its name."""
        folder, path = self.row.path.rpartition("/")[0], self.row.path
        if await store.stat_sidecar(path + SIDECAR_SUFFIX) is not None:
            return
        if not await store.find_sidecars(self.row.file_id, folder):
            await store.delete_blob(path)

    def _require_open(self) -> None:
        self.require_present()
        if self.is_file:
            raise FailedPrecondition(
                "the upload is committed; GetUpload shows the file", reason="COMMITTED"
            )
        self._parts.element.writing()
        self._parts.element.require_open_uploads()
        self._parts.element.require_writes()

    def _end_writer(self) -> None:
        self.interrupt(Aborted("a newer call has the upload", reason="TAKEN_OVER"))

    async def _open_stage(self) -> Stage:
        store = self._parts.element.writing()
        known = self.row.stage
        try:
            if known.committed_size_bytes:
                stage = await store.open_stage(self.row.path, resume=known)
            else:
                stage = await store.open_stage(self.row.path, key=self.upload_id)
        except DataLoss as exc:
            _log.warning("bytes of an upload are gone", upload=self.upload_id, reason=exc.message)
            await self._record(StagedState(self._first_key()))
            stage = await store.open_stage(self.row.path, key=self.upload_id)
        self._stage = stage
        return stage

    def _first_key(self) -> str:
        return first_key(self._parts.element, self.upload_id)

    async def _append(self, stage: Stage, data: bytes) -> None:
        try:
            await stage.write(data)
        except ArtStoreError:
            # After an error only the last checkpoint is sure.
            await self.close()
            raise

    async def _checkpoint(self, stage: Stage) -> None:
        try:
            state = await stage.checkpoint()
        except ArtStoreError:
            await self.close()
            raise
        await self._record(state)

    async def _record(self, state: StagedState) -> None:
        now = datetime.now(UTC)
        held = self._parts.space.held(self.upload_id)
        if not await self._parts.uploads.record_progress(
            self.upload_id, state, reserved_bytes=held, now=now
        ):
            raise NotFound(f"no open upload {self.upload_id!r}")
        self.row = replace(self.row, stage=state, reserved_bytes=held, touched_at=now)

    def _check_size(self, stage: Stage, size_bytes: int | None) -> None:
        declared = self.header.size_bytes
        if size_bytes is not None and declared is not None and size_bytes != declared:
            raise DataLoss(
                f"the header declared {declared} bytes, the commit {size_bytes}",
                reason="SIZE_MISMATCH",
            )
        expected = size_bytes if size_bytes is not None else declared
        if expected is None or expected == stage.offset:
            return
        if expected > stage.offset:
            raise OutOfRange(
                f"{expected} bytes were declared, {stage.offset} came; send the rest",
                reason="INCOMPLETE",
                metadata={"committed_size_bytes": str(stage.offset)},
            )
        raise DataLoss(
            f"{stage.offset} bytes came, {expected} were declared", reason="SIZE_MISMATCH"
        )

    async def _reopen(self, stage: Stage) -> None:
        """The digest differs: bytes may be sent again from anywhere."""
        self._may_be_wrong = True
        try:
            await stage.truncate(stage.offset)
        except FailedPrecondition:
            # This store cannot go on with a sealed blob.
            await stage.discard()
            self._stage = None
            await self._record(StagedState(self._first_key()))

    async def _go_back(self, stage: Stage, offset: int) -> None:
        await stage.truncate(offset)
        self._may_be_wrong = False
        if stage.offset < self.row.stage.committed_size_bytes:
            await self._checkpoint(stage)

    def _became_file(self) -> None:
        self.is_file = True
        if self._stage is not None:
            self._parts.space.settle(self.upload_id, self._stage.offset)


def first_key(element: Element, upload_id: str) -> str:
    """The stage key of an upload that has nothing on record: S3 gives keys out itself."""
    return "" if element.backend == "s3" else upload_id


def _interruption(writer: Writer) -> ArtStoreError:
    if writer.interrupted.done():
        return writer.interrupted.result()
    return Aborted("a newer call has the upload", reason="TAKEN_OVER")


def _gap(offset: int, at: int) -> OutOfRange:
    return OutOfRange(
        f"the chunk begins at {offset}, {at} was expected; ask GetUpload and go on from there",
        reason="GAP",
        metadata={"expected_offset": str(at)},
    )
