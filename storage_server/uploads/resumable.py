"""One resumable upload in memory: its one writer, and its way to a file."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import structlog

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
from mesh.identity.limits import Limits
from storage_server.catalog.uploads import UploadRow
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.origin import Origin
from storage_server.domain.sidecar import Sidecar
from storage_server.store.port import SealedBlob
from storage_server.uploads.chunks import new_bytes
from storage_server.uploads.commit import Differs, compare, make_file
from storage_server.uploads.header import Header
from storage_server.uploads.parts import UploadParts
from storage_server.uploads.recorded_stage import RecordedStage
from storage_server.uploads.state import UploadState
from storage_server.writing.recording import SidecarUncertain
from storage_server.writing.view import FileView

_log = structlog.stdlib.get_logger(__name__)


class UploadWriter:
    """One WriteUpload stream. `interrupted` is done with the error that ends it from outside.

    Args:
        limits: of the account whose upload it is.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.interrupted: asyncio.Future[ArtStoreError] = asyncio.get_running_loop().create_future()

    def interrupt(self, error: ArtStoreError) -> None:
        """End the stream with `error`."""
        if not self.interrupted.done():
            self.interrupted.set_result(error)


class ResumableUpload:
    """See the module. All changes happen one after the other, under `turn`.

    Attributes:
        sidecar: of the file to be, without size and digests.
        state: where it is.
        stage: its bytes, and the upload as on record.
        active_at: monotonic seconds of the last call.
    """

    def __init__(
        self,
        parts: UploadParts,
        row: UploadRow,
        header: Header,
        sidecar: Sidecar,
        state: UploadState,
    ) -> None:
        self.header = header
        self.sidecar = sidecar
        self.state = state
        self.stage = RecordedStage(parts, row)
        self.turn = asyncio.Lock()
        self.active_at = time.monotonic()
        self._parts = parts
        self._writer: UploadWriter | None = None

    @property
    def row(self) -> UploadRow:
        """As on record."""
        return self.stage.row

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
        if self.state is UploadState.GONE:
            raise NotFound(f"no upload {self.upload_id!r}")

    # --- writing ---------------------------------------------------------------------

    async def take_over(self, limits: Limits) -> UploadWriter:
        """Become the writer; an older stream ends ABORTED.

        Args:
            limits: of the account whose upload it is.

        Raises:
            FailedPrecondition: committed already, or the element left its writing mode.
        """
        async with self.turn:
            self._require_open()
            self._end_writer()
            self._writer = UploadWriter(limits)
            return self._writer

    async def write(
        self, writer: UploadWriter, offset: int, data: bytes | memoryview, crc32c: int | None
    ) -> None:
        """Take a chunk; what of it was accepted before is skipped.

        Raises:
            Aborted: a newer stream has the upload.
            OutOfRange: it begins beyond what was accepted.
            DataLoss: its checksum differs, or it goes beyond the declared size.
            ResourceExhausted: no room, or over 2 MiB.
            StoreReadOnly: the store takes no writes any more.
        """
        async with self.turn:
            if self._writer is not writer or writer.interrupted.done():
                raise _interruption(writer)
            self._require_open()
            self.active_at = time.monotonic()
            at = await self.stage.found()
            if offset < at and self.state is UploadState.DISPUTED:
                await self.stage.go_back(offset)
                self.state = UploadState.TAKING
                at = self.stage.offset
            declared = self.header.size_bytes
            data = new_bytes(data, crc32c, offset=offset, at=at, declared=declared, resumed=True)
            if data:
                await self._reserve(at + len(data), writer.limits)
                try:
                    await self.stage.append(data, crc32c if offset == at else None)
                finally:
                    self._parts.space.sent(self.upload_id, self.stage.offset)

    async def end(self, writer: UploadWriter) -> int:
        """The stream ended, cleanly or not: keep what came, and answer how much that is.

        Raises:
            Aborted: a newer stream has the upload.
            Unavailable: what came could not be put on record; it may be lost in a restart.
        """
        async with self.turn:
            if self._writer is not writer:
                raise _interruption(writer)
            self._writer = None
            if self.state is not UploadState.GONE:
                await self.stage.checkpoint()
            return self.stage.recorded_bytes

    async def committed_size(self) -> int:
        """Bytes on record; while nobody writes, those that came but are not yet are put there."""
        async with self.turn:
            stage = self.stage
            pending = stage.offset > stage.recorded_bytes or not stage.is_on_record
            if pending and self._writer is None and not self.state.is_file:
                try:
                    await stage.checkpoint()
                except (Unavailable, StoreReadOnly, ResourceExhausted) as exc:
                    _log.info("progress not recorded", reason=exc.message)
            return stage.recorded_bytes

    # --- ending ----------------------------------------------------------------------

    async def commit(
        self,
        size_bytes: int | None,
        sha256: str | None,
        *,
        by: Origin,
        deadline: float | None,
    ) -> FileView:
        """Make the file. The caller holds `turn` and knows that there is none yet.

        Args:
            by: who commits.
            deadline: see `make_file`.

        Raises:
            OutOfRange: size_bytes is more than was sent, or some of what came is gone.
            DataLoss: size or digest differ; the upload stays open.
        """
        self._require_open()
        self._end_writer()
        await self.stage.opened()
        self._check_size(size_bytes)
        before, self.state = self.state, UploadState.FINISHING
        try:
            view = await self._make_file(sha256, by, deadline)
        except BaseException as exc:
            if self.state is UploadState.FINISHING:
                known = isinstance(exc, ArtStoreError) and not isinstance(exc, SidecarUncertain)
                self.state = before if known else UploadState.UNCERTAIN
            raise
        self.state = UploadState.FILE
        await self.stage.close()
        return view

    async def _make_file(self, sha256: str | None, by: Origin, deadline: float | None) -> FileView:
        def check(blob: SealedBlob) -> None:
            compare(blob, size_bytes=None, sha256=(sha256, self.header.sha256))

        stage = await self.stage.opened()
        # Whatever is left of a failure belongs to the upload, which stays open.
        begun = self._parts.writing.begin(self.sidecar, ChangeKind.CREATED, by=by)
        async with begun as write:
            try:
                with self._parts.terms.quotas.room(self.sidecar.namespace, stage.offset):
                    await make_file(write, stage, self.sidecar, check, deadline=deadline)
            except SidecarUncertain:
                raise
            except Differs:
                self.state = UploadState.DISPUTED
                await self.stage.reopen()
                raise
            except ArtStoreError:
                # Closes the stage when it is of no more use; the next call opens another one.
                with suppress(ArtStoreError):
                    await self.stage.checkpoint()
                raise
            self.state = UploadState.STORED
            self._parts.space.settle(self.upload_id, stage.offset)
            return await write.row()

    async def abort(self) -> None:
        """Leave nothing. The caller holds `turn` and knows that there is no file yet.

        What a store that does not write now cannot remove goes when it writes again: the stage
        by the sweeper, a blob in place by the replay. So goes what a sidecar may still name
        that was sent before: if it comes, there is a file after all, and it has its bytes.
        """
        self._end_writer()
        before, self.state = self.state, UploadState.GONE
        if before is UploadState.UNCERTAIN:
            await self.stage.close()
            await self._parts.writing.leave_to_replay(self.sidecar)
        else:
            try:
                await self.stage.remove()
            except StoreReadOnly:
                await self._parts.writing.leave_to_replay(self.sidecar)
        await self._parts.records.delete(self.upload_id)
        self._parts.space.release(self.upload_id)

    def pause(self, error: ArtStoreError) -> None:
        """End the stream that is writing, if one is; what came on it is then put on record."""
        if self._writer is not None:
            self._writer.interrupt(error)

    def interrupt(self, error: ArtStoreError) -> None:
        """End the stream that is writing, if one is, and have it change nothing any more."""
        if self._writer is not None:
            self._writer.interrupt(error)
            self._writer = None

    # --- inside ----------------------------------------------------------------------

    async def _reserve(self, written_bytes: int, limits: Limits) -> None:
        """Ask for room anew where what was reserved has lapsed, or is used up."""
        lapsed = not self._parts.space.held(self.upload_id)
        await self._parts.reserving.extend(
            self.upload_id,
            written_bytes,
            size_bytes=self.header.size_bytes,
            account=self.row.created_by,
            limits=limits,
        )
        if lapsed:
            await self.stage.record_room()

    def _require_open(self) -> None:
        self.require_present()
        if self.state.is_file:
            raise FailedPrecondition(
                "the upload is committed; GetUpload shows the file", reason="COMMITTED"
            )
        self._parts.element.writing()
        self._parts.element.require_open_uploads()
        self._parts.element.require_writes()

    def _end_writer(self) -> None:
        self.interrupt(Aborted("a newer call has the upload", reason="TAKEN_OVER"))

    def _check_size(self, size_bytes: int | None) -> None:
        declared, left = self.header.size_bytes, self.stage.offset
        came = max(left, self.stage.received_bytes)
        if size_bytes is not None and declared is not None and size_bytes != declared:
            raise DataLoss(
                f"the header declared {declared} bytes, the commit {size_bytes}",
                reason="SIZE_MISMATCH",
            )
        expected = size_bytes if size_bytes is not None else declared
        if expected is not None and expected < came:
            raise DataLoss(f"{came} bytes came, {expected} were declared", reason="SIZE_MISMATCH")
        if left < came:
            raise _incomplete(f"{came} bytes came, and only {left} of them are left", left)
        if expected is not None and expected > came:
            raise _incomplete(f"{expected} bytes were declared, {came} came", left)


def _incomplete(what: str, left: int) -> OutOfRange:
    return OutOfRange(
        f"{what}; ask GetUpload, send the rest from its answer on, then commit",
        reason="INCOMPLETE",
        metadata={"committed_size_bytes": str(left)},
    )


def _interruption(writer: UploadWriter) -> ArtStoreError:
    if writer.interrupted.done():
        return writer.interrupted.result()
    return Aborted("a newer call has the upload", reason="TAKEN_OVER")
