"""An upload in one stream: from an accepted header to a file, or to nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from mesh.errors import ArtStoreError
from mesh.identity.limits import Limits
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.naming import blob_path
from storage_server.domain.origin import Origin
from storage_server.domain.sidecar import Sidecar
from storage_server.store.port import SealedBlob, Stage
from storage_server.uploads.chunks import new_bytes
from storage_server.uploads.commit import compare, make_file
from storage_server.uploads.header import Header, check_declared
from storage_server.uploads.parts import UploadParts
from storage_server.uploads.state import UploadState
from storage_server.writing.recording import SidecarUncertain
from storage_server.writing.view import FileView

_log = structlog.stdlib.get_logger(__name__)


class StreamedUpload:
    """One running Upload call. `finish` or `discard` ends it; both are idempotent.

    Attributes:
        state: where it is.
        interrupted: done with the error that ends the call from outside (taken over, element
            drained, idle), as soon as there is one.
        active_at: monotonic seconds of its last chunk.
    """

    def __init__(
        self,
        parts: UploadParts,
        header: Header,
        sidecar: Sidecar,
        *,
        limits: Limits,
        by: Origin,
        on_end: Callable[[StreamedUpload], None],
    ) -> None:
        self.header = header
        self.sidecar = sidecar
        self.state = UploadState.TAKING
        self.interrupted: asyncio.Future[ArtStoreError] = asyncio.get_running_loop().create_future()
        self.active_at = time.monotonic()
        self._parts = parts
        self._stage: Stage | None = None
        self._limits = limits
        self._by = by
        self._on_end = on_end
        self._end = asyncio.Event()
        self._writing = False

    @property
    def file_id(self) -> str:
        """Of the file to be."""
        return self.sidecar.file_id

    @property
    def is_over(self) -> bool:
        """Nothing of it is left but, perhaps, its file."""
        return self._end.is_set()

    async def until_over(self) -> None:
        """Wait until `is_over`."""
        await self._end.wait()

    def interrupt(self, error: ArtStoreError) -> None:
        """End the call with `error`, unless it is past that."""
        if self.state is UploadState.TAKING and not self.interrupted.done():
            self.interrupted.set_result(error)

    def rest(self) -> None:
        """Let go of the stage's descriptor until the next chunk, unless bytes are taken now."""
        if self.state is UploadState.TAKING and self._stage is not None and not self._writing:
            self._stage.rest()

    async def write(self, offset: int, data: bytes | memoryview, crc32c: int | None) -> None:
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
        declared = self.header.size_bytes
        at = self._stage.offset if self._stage is not None else 0
        data = new_bytes(data, crc32c, offset=offset, at=at, declared=declared, resumed=False)
        await self._parts.reserving.extend(
            self.file_id,
            at + len(data),
            size_bytes=declared,
            account=self.sidecar.created_by,
            limits=self._limits,
        )
        self._writing = True
        try:
            if data:
                await (await self._opened()).write(data, crc32c)
        finally:
            self._writing = False
        self._parts.space.sent(self.file_id, at + len(data))

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
        self.state = UploadState.FINISHING
        return await self._parts.unbroken.run(self._finish(size_bytes, sha256, deadline))

    async def discard(self) -> None:
        """Leave nothing, unless it is finishing, which then goes on. Never raises."""
        if self.state is UploadState.TAKING:
            self.state = UploadState.FINISHING
            await self._parts.unbroken.run(self._drop())

    async def _opened(self) -> Stage:
        """The stage, which the first byte makes."""
        if self._stage is None:
            path = blob_path(self.sidecar.storage_path, self.sidecar.storage_filename)
            store = self._parts.element.writing()
            self._stage = await store.open_stage(path, key=self.file_id)
        return self._stage

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
            self._let_go(UploadState.UNCERTAIN)
            raise
        except BaseException:
            await self._drop()
            raise
        self.state = UploadState.FILE
        await self._close()
        return view

    async def _make_file(
        self, check: Callable[[SealedBlob], None], deadline: float | None
    ) -> FileView:
        stage = await self._opened()
        begun = self._parts.writing.begin(self.sidecar, ChangeKind.CREATED, by=self._by)
        async with begun as write:
            try:
                with self._parts.terms.quotas.room(self.sidecar.namespace, stage.offset):
                    await make_file(write, stage, self.sidecar, check, deadline=deadline)
            except SidecarUncertain:
                raise
            except ArtStoreError:
                if not await self._drop():
                    write.strands_blob()
                raise
            self._parts.space.settle(self.file_id, stage.offset)
            self._let_go(UploadState.STORED)
            return await write.row()

    async def _drop(self) -> bool:
        """Discard the stage, unless that was done, or the file exists. Whether nothing is left."""
        if self.is_over:
            await self._close()
            return True
        try:
            if self._stage is not None:
                await self._stage.discard()
        except ArtStoreError as exc:
            _log.warning("stage left to the sweeper", file_id=self.file_id, reason=exc.message)
            return False
        finally:
            self._let_go(UploadState.GONE)
        return True

    async def _close(self) -> None:
        try:
            if self._stage is not None:
                await self._stage.close()
        except ArtStoreError as exc:
            _log.warning("stage not closed", file_id=self.file_id, reason=exc.message)

    def _let_go(self, state: UploadState) -> None:
        self.state = state
        if not state.is_file:
            self._parts.space.release(self.file_id)
        self._end.set()
        self._on_end(self)
