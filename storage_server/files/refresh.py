"""Lazy refresh: an expired row is read again from its sidecar, a missing one is put back.

One refresh of a file at a time, whoever asks; who waits for it waits at most for a deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Protocol

import structlog

from mesh.errors import Aborted, ArtStoreError, DataLoss, Unavailable
from storage_server.catalog.catalog import Catalog
from storage_server.catalog.kinds import ChangeKind
from storage_server.catalog.rows import FileRow
from storage_server.element.state import Element
from storage_server.files.locate import locate
from storage_server.files.locks import KeyedLocks
from storage_server.files.recording import Recording
from storage_server.files.view import FileView, of_row, of_sidecar
from storage_server.repair.reading import ReadSidecar
from storage_server.sidecar import FileState, digest

DEADLINE_SECONDS = 1.0

_log = structlog.stdlib.get_logger(__name__)


class LazyLock(Protocol):
    """The element-wide lock that a refresh takes besides the file's own."""

    def hold(self, file_id: str) -> AbstractAsyncContextManager[object]:
        """Hold it around the refresh of one file.

        Raises:
            Aborted: a rebuild has the element, or another process refreshes this file.
            Unavailable: the lock store is down.
        """


class NoLazyLock:
    """For an element that nothing repairs: always free."""

    @asynccontextmanager
    async def hold(self, file_id: str) -> AsyncIterator[None]:
        """Free at once."""
        yield


class Refresh:
    """Refreshes rows on demand.

    Args:
        lazy_lock: see `LazyLock`.
    """

    def __init__(
        self,
        element: Element,
        catalog: Catalog,
        recording: Recording,
        file_locks: KeyedLocks,
        lazy_lock: LazyLock,
    ) -> None:
        self._element = element
        self._catalog = catalog
        self._recording = recording
        self._file_locks = file_locks
        self._lazy_lock = lazy_lock
        self._flights: dict[str, asyncio.Task[FileView | None]] = {}

    async def refreshed(
        self, file_id: str, row: FileRow | None, *, deadline_seconds: float = DEADLINE_SECONDS
    ) -> FileView | None:
        """The file after a refresh; None when it has no sidecar.

        When the refresh cannot be done in time, the row, or if there is none the sidecar, is
        answered as stale.

        Args:
            row: what the cache has, expired; None when it has nothing.

        Raises:
            Unavailable: there is no row and the storage does not answer.
            DataLoss: there is no row and the sidecar is damaged.
        """
        flight = self._flights.get(file_id)
        if flight is None:
            flight = asyncio.create_task(self._refresh(file_id, row))
            self._flights[file_id] = flight
            flight.add_done_callback(lambda done: self._landed(file_id, done))
        await asyncio.wait({flight}, timeout=deadline_seconds)
        if flight.done():
            try:
                return flight.result()
            except (Aborted, Unavailable, DataLoss) as exc:
                _log.info("lazy rebuild not done", file_id=file_id, reason=exc.message)
        else:
            _log.info("lazy rebuild takes too long", file_id=file_id)
        if row is not None:
            return of_row(row, datetime.now(UTC), stale=True)
        return await self.from_sidecar(file_id)

    async def from_sidecar(self, file_id: str, known_path: str = "") -> FileView | None:
        """The file as its sidecar says, without the database; always stale.

        Raises:
            Unavailable: the storage does not answer.
        """
        located = await locate(self._element.store, file_id, known_path)
        if located is None:
            await self._element.prove()
            return None
        return of_sidecar(located.sidecar, self._recording.ttl_hours, stale=True)

    def _landed(self, file_id: str, flight: asyncio.Task[FileView | None]) -> None:
        self._flights.pop(file_id, None)
        if not flight.cancelled():
            flight.exception()

    async def _refresh(self, file_id: str, row: FileRow | None) -> FileView | None:
        if row is None:
            _log.info("Cache entry missing, looking for the sidecar", file_id=file_id)
        else:
            _log.info("Cache entry expired, triggering lazy rebuild", file_id=file_id)
        if not self._element.is_writer:
            return await self._read_only(file_id, row)
        async with self._lazy_lock.hold(file_id), self._file_locks.hold(file_id):
            row = await self._catalog.reads.get(file_id)
            if row is not None and not row.cache_expired(datetime.now(UTC)):
                return of_row(row, datetime.now(UTC))
            located = await self._locate(file_id, row)
            return None if located is None else await self._write_back(located, row)

    async def _read_only(self, file_id: str, row: FileRow | None) -> FileView | None:
        """On a standby: nothing is written."""
        located = await self._locate(file_id, row)
        if located is None:
            return None
        return of_sidecar(located.sidecar, self._recording.ttl_hours, stale=False)

    async def _locate(self, file_id: str, row: FileRow | None) -> ReadSidecar | None:
        located = await locate(self._element.store, file_id, row.path if row else "")
        if located is None:
            await self._element.prove()
        return located

    async def _write_back(self, located: ReadSidecar, row: FileRow | None) -> FileView:
        sidecar, identity = located.sidecar, located.identity
        try:
            if row is not None and not row.pending and row.digest == digest(sidecar):
                return await self._renew(located, row)
            if row is None and sidecar.state is FileState.DELETED:
                # Nothing asks for the row of a tombstone; a repair counts and adds it.
                return of_sidecar(sidecar, self._recording.ttl_hours, stale=False)
            return await self._recording.write_row(
                sidecar,
                identity,
                _kind(sidecar.state, row),
                blob_present=row is None or row.blob_present,
            )
        except ArtStoreError as exc:
            _log.info("lazy rebuild not written back", reason=exc.message)
            return of_sidecar(sidecar, self._recording.ttl_hours, stale=True)

    async def _renew(self, located: ReadSidecar, row: FileRow) -> FileView:
        now, ttl = datetime.now(UTC), self._recording.ttl_hours
        renewed = await self._catalog.writes.renew(
            row.sidecar.file_id,
            sequence=row.sequence,
            identity=located.identity,
            now=now,
            cache_ttl_hours=ttl,
        )
        if not renewed:
            # A rebuild wrote the row meanwhile, from this very sidecar.
            return of_sidecar(located.sidecar, ttl, stale=False)
        return FileView(
            located.sidecar,
            now,
            ttl,
            cache_expired=False,
            sequence=row.sequence,
            blob_present=row.blob_present,
        )


def _kind(state: FileState, row: FileRow | None) -> ChangeKind:
    if row is None:
        return ChangeKind.CREATED
    if state is FileState.DELETED and row.sidecar.state is not FileState.DELETED:
        return ChangeKind.DELETED
    if state is not FileState.DELETED and row.sidecar.state is FileState.DELETED:
        return ChangeKind.UNDELETED
    return ChangeKind.UPDATED
