"""The bytes of a pull: their stage, and what of it is on record."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from mesh.errors import ArtStoreError, DataLoss
from storage_server.catalog.port import FileCatalog
from storage_server.catalog.pulls import PullRow
from storage_server.domain.life import HAVE_BYTES
from storage_server.domain.naming import blob_path
from storage_server.domain.sidecar import FileState
from storage_server.element.space import Space
from storage_server.element.state import Element
from storage_server.sidecars.locate import locate
from storage_server.sidecars.reading import ReadSidecar
from storage_server.store.port import SIDECAR_SUFFIX, Stage, StagedState, Store

CHECKPOINT_BYTES = 64 * 1024 * 1024

_log = structlog.stdlib.get_logger(__name__)


def key_of(file_id: str) -> str:
    """What a pull's room is called, and its stage where the store does not name it itself."""
    return f"pull-{file_id}"


async def locate_pulled(store: Store, row: PullRow) -> ReadSidecar | None:
    """The sidecar of a file that is on record as pulled; ids of other kinds name no folder."""
    return await locate(store, row.file_id, row.path + SIDECAR_SUFFIX)


@dataclass(frozen=True, slots=True)
class Arriving:
    """Opens the stages of pulls; one per server."""

    element: Element
    catalog: FileCatalog
    space: Space

    async def open(
        self, store: Store, file_id: str, placed: tuple[str, str], *, sha256: str, size_bytes: int
    ) -> ArrivingStage:
        """The stage of a file, with what came of it before; room is reserved for it.

        It is on record before it is in the store, so that nobody takes it for a leftover.

        Args:
            placed: folder and name of the blob to be.
            sha256, size_bytes: of the file; what came of another content is dropped.

        Raises:
            ResourceExhausted: no room. Unavailable: database or storage.
        """
        now, path = datetime.now(UTC), blob_path(*placed)
        row = await self.catalog.pulls.get(file_id)
        if row is not None and (row.sha256, row.size_bytes, row.path) != (sha256, size_bytes, path):
            await self.drop(store, row)
            row = None
        if not self.space.held(key_of(file_id)):
            self.space.take(key_of(file_id), size_bytes, account="")
        if row is None:
            row = PullRow(
                file_id=file_id,
                path=path,
                sha256=sha256,
                size_bytes=size_bytes,
                stage=self._nothing(file_id),
                began_at=now,
                touched_at=now,
            )
        try:
            await self.catalog.pulls.put(replace(row, touched_at=now))
            return ArrivingStage(self, row, await self._stage(store, row))
        except BaseException:
            self.space.release(key_of(file_id))
            raise

    async def recorded_bytes(self, file_id: str, sha256: str) -> int:
        """How many bytes of a file are on record, of an earlier try."""
        row = await self.catalog.pulls.get(file_id)
        return row.stage.committed_size_bytes if row is not None and row.sha256 == sha256 else 0

    async def drop(self, store: Store, row: PullRow) -> None:
        """Leave nothing of a pull that is not under way, unless its file is here."""
        if row.stage.key:
            await store.discard_stage(row.stage.key, row.path)
        if not await self._is_in_use(store, row):
            # Sealed on S3, or put in place just before a crash.
            await store.delete_blob(row.path)
        await self.end(row.file_id)

    async def forget(self, store: Store, file_id: str) -> None:
        """The file is here: drop what is left on record of its pull. The caller holds its lock."""
        row = await self.catalog.pulls.get(file_id)
        if row is not None:
            await self.drop(store, row)

    async def end(self, file_id: str) -> None:
        """It is over: nothing of it is on record any more."""
        await self.catalog.pulls.delete(file_id)
        self.space.release(key_of(file_id))

    async def _is_in_use(self, store: Store, row: PullRow) -> bool:
        """Whether what lies where the blob was to be placed is a file's."""
        found = await locate_pulled(store, row)
        if found is not None:
            return found.sidecar.state in (*HAVE_BYTES, FileState.DELETED)
        await self.element.prove()
        return await store.stat_sidecar(row.path + SIDECAR_SUFFIX) is not None

    async def _stage(self, store: Store, row: PullRow) -> Stage:
        key = key_of(row.file_id)
        if row.stage.committed_size_bytes:
            try:
                return await store.open_stage(row.path, resume=row.stage)
            except DataLoss as exc:
                _log.warning("bytes of a pull are gone", file_id=row.file_id, reason=exc.message)
                await self.catalog.pulls.put(replace(row, stage=self._nothing(row.file_id)))
        return await store.open_stage(row.path, key=key)

    def _nothing(self, file_id: str) -> StagedState:
        return StagedState("" if self.element.backend == "s3" else key_of(file_id))


class ArrivingStage:
    """One stage, while it is open. `keep` keeps what came, `discard` leaves nothing.

    Attributes:
        stage: takes the bytes.
    """

    def __init__(self, arriving: Arriving, row: PullRow, stage: Stage) -> None:
        self.stage = stage
        self._arriving = arriving
        self._row = row
        self._over = False
        self._recorded = min(row.stage.committed_size_bytes, stage.offset)

    async def append(self, data: bytes) -> None:
        """Take the next bytes; now and then they are put on record."""
        await self.stage.write(data)
        if self.stage.offset - self._recorded >= CHECKPOINT_BYTES:
            await self._checkpoint()
        self._arriving.space.sent(key_of(self._row.file_id), self.stage.offset)

    def settle(self, size_bytes: int) -> None:
        """It is a file now, and counts as one."""
        self._over = True
        self._arriving.space.settle(key_of(self._row.file_id), size_bytes)

    async def keep(self) -> None:
        """Put on record what came, as far as that can be done now, and close the stage."""
        if not self._over:
            with suppress(ArtStoreError):
                self._arriving.element.writing()
                if self.stage.offset > self._recorded:
                    await self._checkpoint()
        try:
            await self.stage.close()
        except ArtStoreError as exc:
            _log.warning("stage not closed", file_id=self._row.file_id, reason=exc.message)

    async def discard(self, store: Store) -> None:
        """Leave nothing of it, but for a file that has come of it. The caller holds its lock."""
        self._over = True
        await self.stage.discard()
        await self._arriving.drop(store, replace(self._row, stage=StagedState("")))

    async def erase(self, store: Store, *, keep: str) -> None:
        """Leave nothing of it: its file was erased, and may have been before the last bytes came.
        The caller holds its lock.

        Args:
            keep: path of the sidecar that says so.
        """
        await self.discard(store)
        # A store that keeps versions has those of what has just been discarded.
        await store.erase(self._row.file_id, [self._row.path.rpartition("/")[0]], keep=keep)

    async def _checkpoint(self) -> None:
        state = await self.stage.checkpoint()
        self._row = replace(self._row, stage=state, touched_at=datetime.now(UTC))
        await self._arriving.catalog.pulls.put(self._row)
        self._recorded = state.committed_size_bytes
