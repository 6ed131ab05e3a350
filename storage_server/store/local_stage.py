"""A blob on its way into a local store: a file in `.staging` until it is whole."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from mesh.errors import DataLoss, FailedPrecondition, OutOfRange
from storage_server.store import durable
from storage_server.store.digest import RunningDigest
from storage_server.store.folders import Handle
from storage_server.store.local_files import LocalFiles, StageFile
from storage_server.store.open_stages import OpenStages
from storage_server.store.os_errors import changes_store
from storage_server.store.pipeline import Pipeline, Written
from storage_server.store.port import SealedBlob, StagedState
from storage_server.store.threads import Threads

_WRITEBACK_BYTES = 4 << 20
_MAX_DIRTY_BYTES = 64 << 20
_REREAD_STEP_BYTES = 64 << 20
_READ_BYTES = 1 << 20


class LocalStage:
    """See `storage_server.store.port.Stage`.

    Args:
        file: as it was found, or made; the stage alone holds its handle.
        patient_seconds: deadline of what may have to wait for a slow disk to take much.
        among: told whenever the file is needed, and when this stage is closed or discarded.
    """

    def __init__(
        self,
        files: LocalFiles,
        threads: Threads,
        *,
        key: str,
        path: str,
        file: StageFile,
        patient_seconds: float,
        among: OpenStages[LocalStage],
    ) -> None:
        self.key = key
        self._path = path
        self._files = files
        self._threads = threads
        self._handle: Handle | None = file.handle
        self._offset = offset = file.size_bytes
        self._placed = file.placed
        self._patient_seconds = patient_seconds
        self._among = among
        self._calls = 0
        self._what = f"stage {key}"
        self._pipeline = Pipeline(threads, self._append, what=self._what)
        self._digest = RunningDigest() if offset == 0 else None
        self._written = offset
        self._writeback_begun = offset
        self._writeback_done = offset
        self._entry_durable = offset > 0
        self._sealed: SealedBlob | None = None
        self._closed = False

    @property
    def offset(self) -> int:
        """Bytes accepted so far."""
        return self._offset

    @property
    def has_descriptor(self) -> bool:
        """Its file is open."""
        return self._handle is not None

    async def write(self, data: bytes | memoryview, crc32c: int | None = None) -> None:
        """Append; see the port."""
        self._require_open()
        if self._placed:
            raise FailedPrecondition("the blob is complete and in place", reason="SEALED")
        if data:
            self._sealed = None
            self._offset += len(data)
            await self._pipeline.write(data, crc32c)
            self._among.used(self)

    async def checkpoint(self) -> StagedState:
        """Make all accepted bytes durable."""
        self._require_open()
        with self._under_way():
            await self._pipeline.drain()
            await self._threads.run_within(self._patient_seconds, self._what, self._keep)
        return StagedState(self.key, self._offset)

    async def truncate(self, offset: int) -> None:
        """Cut; the digest of what stays is computed again at the end."""
        self._require_open()
        if not 0 <= offset <= self._offset:
            raise OutOfRange(f"offset {offset} is beyond the end, {self._offset}")
        if self._placed:
            raise FailedPrecondition("the blob is complete and in place", reason="SEALED")
        await self._pipeline.drain()
        if offset == self._offset:
            return
        with self._under_way():
            await self._threads.run(self._what, self._cut, offset)
        self._sealed = None
        self._offset = self._written = offset
        self._writeback_begun = min(self._writeback_begun, offset)
        self._writeback_done = min(self._writeback_done, offset)
        self._digest = RunningDigest() if offset == 0 else None

    async def seal(
        self,
        check: Callable[[SealedBlob], None] = lambda _: None,
        *,
        seconds_left: float | None = None,
    ) -> SealedBlob:
        """fsync, then set the time to now, since rename keeps it and a sweeper looks at it."""
        del seconds_left
        self._require_open()
        await self._pipeline.drain()
        if self._sealed is None:
            with self._under_way():
                digest = self._digest or await self._reread()
                await self._threads.run_within(self._patient_seconds, self._what, self._finish)
            self._sealed = digest.result()
        check(self._sealed)
        return self._sealed

    async def place(self) -> None:
        """Rename into the folder, and force the folder and its new parents to the disk."""
        self._require_open()
        if self._sealed is None:
            raise FailedPrecondition("the stage is not sealed")
        await self._threads.run_within(
            self._patient_seconds, self._what, self._files.place, self.key, self._path
        )
        self._placed = True

    async def discard(self) -> None:
        """Remove the file, wherever it is by now."""
        removal = asyncio.ensure_future(self._discard())
        await asyncio.shield(removal)

    def rest(self) -> None:
        """Let go of the file until the next call, unless a thread is at it."""
        if not self._closed and not self._placed and not self._calls and self._pipeline.is_idle:
            self._let_go()

    async def close(self) -> None:
        """Let go of the file and leave it where it is."""
        if not self._closed:
            self._closed = True
            try:
                await self._pipeline.settle()
                self._let_go()
            finally:
                # A thread that is still at it holds the handle; the last to let go closes it.
                self._handle = None
                self._among.forget(self)

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        """The file stays open meanwhile, whoever else needs one."""
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1
            self._among.used(self)

    def _let_go(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            self._threads.start(handle.close)

    async def _discard(self) -> None:
        await self.close()
        path = self._path if self._placed or self._sealed is not None else ""
        await self._threads.run(self._what, self._files.discard_stage, self.key, path)

    def _require_open(self) -> None:
        if self._closed:
            raise FailedPrecondition(
                "this stage is closed: another stream went on with the upload", reason="TAKEN_OVER"
            )

    async def _reread(self) -> RunningDigest:
        digest = RunningDigest()
        while digest.size_bytes < self._offset:
            await self._threads.run_within(
                self._patient_seconds, self._what, self._hash_step, digest
            )
        return digest

    # --- in a thread ---------------------------------------------------------------

    def _opened(self) -> Handle:
        """The file, opened again after a rest."""
        handle = self._handle
        if handle is None:
            handle = self._handle = self._files.reopened_stage(self.key)
        return handle

    @changes_store
    def _append(self, batch: Sequence[Written]) -> None:
        handle = self._opened()
        self._written = durable.append(handle.fd, [one.data for one in batch], self._written)
        if self._digest is not None:
            for one in batch:
                self._digest.update(one.data, one.crc32c)
        if self._written - self._writeback_begun >= _WRITEBACK_BYTES:
            length = self._written - self._writeback_begun
            durable.start_writeback(handle.fd, self._writeback_begun, length)
            self._writeback_begun = self._written
        if self._writeback_begun - self._writeback_done >= _MAX_DIRTY_BYTES:
            length = self._writeback_begun - self._writeback_done - _MAX_DIRTY_BYTES // 2
            durable.finish_writeback(handle.fd, self._writeback_done, length)
            self._writeback_done += length

    @changes_store
    def _cut(self, offset: int) -> None:
        handle = self._opened()
        durable.truncate(handle.fd, offset)

    @changes_store
    def _keep(self) -> None:
        handle = self._opened()
        durable.fdatasync(handle.fd)
        if not self._entry_durable:
            self._files.keep_stage()
            self._entry_durable = True

    @changes_store
    def _finish(self) -> None:
        handle = self._opened()
        size = os.fstat(handle.fd).st_size
        if size < self._offset:
            raise DataLoss(f"{self._what} has {size} bytes instead of {self._offset}")
        if size > self._offset:
            durable.truncate(handle.fd, self._offset)
        durable.fsync(handle.fd)
        durable.touch(handle.fd)

    def _hash_step(self, digest: RunningDigest) -> None:
        handle = self._opened()
        end = min(self._offset, digest.size_bytes + _REREAD_STEP_BYTES)
        while digest.size_bytes < end:
            data = os.pread(handle.fd, min(_READ_BYTES, end - digest.size_bytes), digest.size_bytes)
            if not data:
                raise DataLoss(f"{self._what} ends at {digest.size_bytes}, not at {self._offset}")
            digest.update(data)
