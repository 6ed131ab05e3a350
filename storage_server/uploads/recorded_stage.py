"""The bytes of a resumable upload: its stage, and what of it is on record."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import structlog

from mesh.errors import ArtStoreError, DataLoss, FailedPrecondition, NotFound
from storage_server.catalog.uploads import UploadRow
from storage_server.element.state import Element
from storage_server.store.port import SIDECAR_SUFFIX, Stage, StagedState, Store
from storage_server.uploads.parts import UploadParts

CHECKPOINT_BYTES = 64 * 1024 * 1024

_log = structlog.stdlib.get_logger(__name__)


class RecordedStage:
    """Opened when it is needed, closed when it is not; only what is on record is sure meanwhile.

    Attributes:
        row: the upload as on record.
        received_bytes: how far the sender came. More than `offset` when some of that is gone, such
            as the part below a whole one that S3 does not take: it has to be sent again.
    """

    def __init__(self, parts: UploadParts, row: UploadRow) -> None:
        self.row = row
        self.received_bytes = row.received_bytes
        self._parts = parts
        self._stage: Stage | None = None

    @property
    def recorded_bytes(self) -> int:
        """Bytes on record."""
        return self.row.stage.committed_size_bytes

    @property
    def offset(self) -> int:
        """Bytes accepted so far; those on record while it is closed."""
        return self.recorded_bytes if self._stage is None else self._stage.offset

    @property
    def is_on_record(self) -> bool:
        """How far the sender came is, so that whoever goes on knows whether bytes are gone."""
        return self.received_bytes == self.row.received_bytes

    async def found(self) -> int:
        """Bytes that are there: of those on record the store was asked. Without any, no stage is
        made before it is needed.
        """
        if self._stage is None and not self.recorded_bytes:
            return 0
        return (await self.opened()).offset

    async def opened(self) -> Stage:
        """The stage, opened anew if it was closed."""
        if self._stage is not None:
            return self._stage
        store, upload_id = self._parts.element.writing(), self.row.upload_id
        known = self.row.stage
        try:
            if known.committed_size_bytes:
                stage = await store.open_stage(self.row.path, resume=known)
            else:
                stage = await store.open_stage(self.row.path, key=upload_id)
        except DataLoss as exc:
            _log.warning("bytes of an upload are gone", upload=upload_id, reason=exc.message)
            await self._record(self._nothing())
            stage = await store.open_stage(self.row.path, key=upload_id)
        self._stage = stage
        return stage

    async def append(self, data: bytes | memoryview, crc32c: int | None) -> None:
        """Take the next bytes of an open stage; now and then they are put on record.

        Args:
            crc32c: of these bytes, if it is known.
        """
        stage = await self.opened()
        try:
            await stage.write(data, crc32c)
        except ArtStoreError:
            # After an error only the last checkpoint is sure.
            await self.close()
            raise
        self.received_bytes = max(self.received_bytes, stage.offset)
        if stage.offset - self.recorded_bytes >= CHECKPOINT_BYTES:
            await self.checkpoint()

    async def checkpoint(self) -> None:
        """Put on record what came, as far as the store can keep it. Closes the stage if not."""
        stage = self._stage
        if stage is None:
            if not self.is_on_record:
                await self._record(self.row.stage)
            return
        try:
            state = await stage.checkpoint()
        except ArtStoreError:
            await self.close()
            raise
        await self._record(state)

    async def record_room(self) -> None:
        """Put on record what the upload holds by now."""
        await self._record(self.row.stage)

    async def go_back(self, offset: int) -> None:
        """Forget what came from `offset` on, or from where the store can go back to."""
        stage = await self.opened()
        await stage.truncate(offset)
        self.received_bytes = offset
        if stage.offset < self.recorded_bytes or not self.is_on_record:
            await self.checkpoint()

    async def reopen(self) -> None:
        """It was sealed, and is to take bytes again: from the first if the store cannot cut it."""
        stage = self._stage
        if stage is None:
            return
        try:
            await stage.truncate(stage.offset)
        except FailedPrecondition:
            await stage.discard()
            self._stage = None
            self.received_bytes = 0
            await self._record(self._nothing())

    def rest(self) -> None:
        """Let go of the descriptor until the next call."""
        if self._stage is not None:
            self._stage.rest()

    async def close(self) -> None:
        """Let go of the stage; its bytes stay."""
        stage, self._stage = self._stage, None
        if stage is not None:
            try:
                await stage.close()
            except ArtStoreError as exc:
                _log.warning("stage not closed", reason=exc.message)

    async def remove(self) -> None:
        """Leave nothing of it in the store.

        Raises:
            StoreReadOnly: the store does not write now.
        """
        stage, self._stage = self._stage, None
        store = self._parts.element.writing()
        if stage is not None:
            await stage.discard()
            return
        if self.row.stage.key:
            await store.discard_stage(self.row.stage.key, self.row.path)
        # A commit that was cut off may have put the blob in place.
        if await store.stat_blob(self.row.path) is not None:
            await self._remove_unless_a_file(store)

    async def _remove_unless_a_file(self, store: Store) -> None:
        """Remove the blob in place unless it has a sidecar, under whatever form of its name."""
        folder, path = self.row.path.rpartition("/")[0], self.row.path
        if await store.stat_sidecar(path + SIDECAR_SUFFIX) is not None:
            return
        if not await store.find_sidecars(self.row.file_id, folder):
            await store.delete_blob(path)

    def _nothing(self) -> StagedState:
        return StagedState(first_key(self._parts.element, self.row.upload_id))

    async def _record(self, state: StagedState) -> None:
        now = datetime.now(UTC)
        upload_id = self.row.upload_id
        held, received = self._parts.space.held(upload_id), self.received_bytes
        if not await self._parts.records.record_progress(
            upload_id, state, reserved_bytes=held, received_bytes=received, now=now
        ):
            raise NotFound(f"no open upload {upload_id!r}")
        self.row = replace(
            self.row, stage=state, reserved_bytes=held, received_bytes=received, touched_at=now
        )


def first_key(element: Element, upload_id: str) -> str:
    """The stage key of an upload that has nothing on record: S3 gives keys out itself."""
    return "" if element.backend == "s3" else upload_id
