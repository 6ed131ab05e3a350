"""An upload in one stream: from an accepted header to a file, or to nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import google_crc32c
import structlog

from mesh.concurrency.unbroken import Unbroken
from mesh.errors import ArtStoreError, DataLoss, OutOfRange, ResourceExhausted
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.sidecar import Sidecar
from storage_server.element.space import Space
from storage_server.element.state import Element
from storage_server.store.port import SealedBlob, Stage
from storage_server.uploads.commit import compare, make_file
from storage_server.uploads.header import Header, check_declared
from storage_server.writing.protocol import Writing
from storage_server.writing.recording import SidecarUncertain
from storage_server.writing.view import FileView

MAX_CHUNK_BYTES = 2 * 1024 * 1024

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class UploadParts:
    """What every streamed upload needs; one per server."""

    element: Element
    space: Space
    writing: Writing
    unbroken: Unbroken


class StreamedUpload:
    """One running Upload call. `finish` or `discard` ends it; both are idempotent.

    Attributes:
        interrupted: done with the error that ends the call from outside (taken over, element
            drained, idle), as soon as there is one.
        ended: set once nothing of it is left but, perhaps, its file.
        active_at: monotonic seconds of its last chunk.
    """

    def __init__(
        self,
        parts: UploadParts,
        header: Header,
        sidecar: Sidecar,
        stage: Stage,
        *,
        on_end: Callable[[StreamedUpload], None],
    ) -> None:
        self.header = header
        self.sidecar = sidecar
        self.interrupted: asyncio.Future[ArtStoreError] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()
        self.active_at = time.monotonic()
        self._parts = parts
        self._stage = stage
        self._on_end = on_end
        self._finishing = False

    @property
    def file_id(self) -> str:
        """Of the file to be."""
        return self.sidecar.file_id

    @property
    def finishing(self) -> bool:
        """All bytes are here; it can no longer be interrupted."""
        return self._finishing

    def interrupt(self, error: ArtStoreError) -> None:
        """End the call with `error`, unless it is past that."""
        if not self._finishing and not self.interrupted.done():
            self.interrupted.set_result(error)

    async def write(self, offset: int, data: bytes, crc32c: int | None) -> None:
        """Take the next chunk.

        Raises:
            OutOfRange: it does not begin where the last one ended.
            DataLoss: its checksum differs, or more comes than was declared.
            ResourceExhausted: it is over 2 MiB, or the element has no more room.
            StoreReadOnly: the store takes no writes any more.
        """
        if self.interrupted.done():
            raise self.interrupted.result()
        self._parts.element.require_writes()
        self.active_at = time.monotonic()
        at = self._stage.offset
        check_chunk(data, crc32c)
        if offset != at:
            raise OutOfRange(
                f"the chunk begins at {offset}, {at} was expected",
                reason="GAP",
                metadata={"expected_offset": str(at)},
            )
        end = at + len(data)
        check_not_beyond(end, self.header.size_bytes)
        if self.header.size_bytes is None:
            self._parts.space.extend(self.file_id, end)
        await self._stage.write(data)

    async def finish(
        self, size_bytes: int | None, sha256: str | None, *, deadline: float | None = None
    ) -> FileView:
        """All bytes were sent: make the file. Goes on when the caller is cancelled.

        Args:
            size_bytes, sha256: what the client says of the whole, if it does.
            deadline: see `make_file`.
        """
        check_declared(size_bytes, sha256)
        if self.interrupted.done():
            raise self.interrupted.result()
        self._finishing = True
        return await self._parts.unbroken.run(self._finish(size_bytes, sha256, deadline))

    async def discard(self) -> None:
        """Leave nothing, unless it is finishing, which then goes on. Never raises."""
        if not self._finishing and not self.ended.is_set():
            self._finishing = True
            await self._parts.unbroken.run(self._drop())

    async def _finish(
        self, size_bytes: int | None, sha256: str | None, deadline: float | None
    ) -> FileView:
        def check(blob: SealedBlob) -> None:
            compare(blob, size_bytes=size_bytes, sha256=(sha256, self.header.sha256))
            compare(blob, size_bytes=self.header.size_bytes, sha256=())

        try:
            self._parts.element.require_open_uploads()
            self._parts.element.require_writes()
            view = await self._make_file(check, deadline)
        except SidecarUncertain:
            await self._close()
            raise
        except BaseException:
            await self._drop()
            raise
        await self._close()
        return view

    async def _make_file(
        self, check: Callable[[SealedBlob], None], deadline: float | None
    ) -> FileView:
        async with self._parts.writing.begin(self.sidecar, ChangeKind.CREATED) as write:
            try:
                await make_file(write, self._stage, self.sidecar, check, deadline=deadline)
            except SidecarUncertain:
                raise
            except ArtStoreError:
                if not await self._drop():
                    write.strands_blob()
                raise
            self._parts.space.settle(self.file_id, self._stage.offset)
            self._end()
            return await write.row()

    async def _drop(self) -> bool:
        """Discard the stage, unless the file exists by now. Whether nothing is left of it."""
        if self.ended.is_set():
            await self._close()
            return True
        try:
            await self._stage.discard()
        except ArtStoreError as exc:
            _log.warning("stage left to the sweeper", file_id=self.file_id, reason=exc.message)
            return False
        finally:
            self._parts.space.release(self.file_id)
            self._end()
        return True

    async def _close(self) -> None:
        try:
            await self._stage.close()
        except ArtStoreError as exc:
            _log.warning("stage not closed", file_id=self.file_id, reason=exc.message)
        if not self.ended.is_set():
            self._parts.space.release(self.file_id)
            self._end()

    def _end(self) -> None:
        self.ended.set()
        self._on_end(self)


def check_chunk(data: bytes, crc32c: int | None) -> None:
    """Raise unless the chunk is as its sender meant it."""
    if len(data) > MAX_CHUNK_BYTES:
        raise ResourceExhausted(
            f"a chunk holds at most {MAX_CHUNK_BYTES} bytes, this one {len(data)}",
            reason="CHUNK_TOO_LARGE",
        )
    if crc32c is not None and google_crc32c.value(data) != crc32c:
        raise DataLoss("a chunk's crc32c does not match its bytes", reason="CHECKSUM_MISMATCH")


def check_not_beyond(end: int, declared: int | None) -> None:
    """Raise DataLoss when more comes than was declared."""
    if declared is not None and end > declared:
        raise DataLoss(
            f"more bytes come than the {declared} that were declared", reason="SIZE_MISMATCH"
        )
