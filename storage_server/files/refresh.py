"""Lazy refresh: what happens on a read whose row is expired or missing.

`files/lookup.py` reads the row. A fresh one is the answer, an expired or missing one comes here (a
row with an open intent counts as expired), and while PostgreSQL does not answer, the sidecar is.

One refresh of a file at a time, whoever asks, under the file's lazy lock and its lock in this
process. There the row is read once more: one that somebody else has renewed is the answer. Then the
sidecar is read: a row that says the same is renewed, another one written anew, a missing one put
back, unless somebody wrote it since it was looked at. Nothing is written where an intent is open or
a tombstone has no row. A file without a sidecar is not found, once `element.json` proves the store;
one that has no row either, and whose id names its folder, without the lazy lock. The answer is what
the sidecar says.

Who asks waits for a deadline at most, `DEADLINE_SECONDS`. When the refresh cannot be done by then
(a rebuild has the element, lock store, storage or PostgreSQL do not answer, the sidecar is
damaged), the answer is the old row, or the sidecar if there is no row, with `cache_stale`; a
refresh under way goes on. `Outcome` counts how they end. A standby refreshes nothing and answers
from the sidecar.

What `files/lookup.py` adds:

- A caller with 5 s left or less has a third of that for the refresh, and as much and a half for row
  and refresh together; then the sidecar is the answer, with `cache_stale`.
- The refreshes of a batch have 5 s together, or a third of what the caller has left if that is
  less. Of a file whose turn comes later, the old row is the answer, or the sidecar, with
  `cache_stale`.
- A tombstone is looked at again in the store (not in a batch): one that was restored from a backup
  may have the file.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

import structlog
from prometheus_client import Counter

from mesh.concurrency.breaker import Breaker
from mesh.concurrency.keyed_locks import KeyedLocks
from mesh.concurrency.single_flight import SingleFlight
from mesh.errors import Aborted, ArtStoreError, DataLoss, Unavailable
from storage_server.catalog.fences import Fence, Guard
from storage_server.catalog.port import FileCatalog
from storage_server.catalog.rows import FileRow
from storage_server.catalog.writes import Guarded
from storage_server.domain.decisions import kind_of_repair
from storage_server.domain.life import HAVE_BYTES
from storage_server.domain.naming import home_of
from storage_server.element.state import Element
from storage_server.sidecars.locate import locate
from storage_server.sidecars.reading import ReadSidecar
from storage_server.writing.recording import Recording
from storage_server.writing.view import FileView, of_row, of_sidecar

DEADLINE_SECONDS = 1.0

_log = structlog.stdlib.get_logger(__name__)


class Outcome(StrEnum):
    """How a refresh ended; the last five leave the answer stale."""

    FRESH = "fresh"
    """Somebody else had renewed the row."""
    UNCHANGED = "unchanged"
    """The row said what the sidecar says, and was renewed."""
    REFRESHED = "refreshed"
    """The row was written anew."""
    PUT_BACK = "put_back"
    """There was no row."""
    READ_ONLY = "read_only"
    """Answered from the sidecar, nothing to write: a standby, a tombstone, a pending write."""
    NOT_FOUND = "not_found"
    """There is no sidecar."""
    LOCK = "stale_lock"
    """A rebuild has the element, or the lock store does not answer."""
    STORAGE = "stale_storage"
    DATABASE = "stale_database"
    INVALID = "stale_invalid"
    """The sidecar cannot be used."""
    TIME = "stale_time"
    """A caller went away with the old answer; the refresh goes on."""


REFRESHES = Counter("artstore_lazy_refreshes_total", "Lazy refreshes by outcome", ["outcome"])


class LazyLock(Protocol):
    """The element-wide lock that a refresh takes besides the file's own."""

    def hold(self, file_id: str) -> AbstractAsyncContextManager[int]:
        """Hold it around the refresh of one file; answers the fence drawn for it.

        Raises:
            Aborted: a rebuild has the element, or another process refreshes this file.
            Unavailable: the lock store is down.
        """


@dataclass(slots=True)
class _Progress:
    """`outcome` is what it would be if nothing more could be done.

    Attributes:
        met: the sidecar of a file without a row, as it was before the lazy lock was asked for.
    """

    outcome: Outcome = Outcome.LOCK
    met: ReadSidecar | None = None


class Refresh:
    """Refreshes rows on demand.

    Args:
        lazy_lock: see `LazyLock`. While its store does not answer, few refreshes wait for it.
    """

    def __init__(
        self,
        element: Element,
        catalog: FileCatalog,
        recording: Recording,
        file_locks: KeyedLocks,
        lazy_lock: LazyLock,
    ) -> None:
        self._element = element
        self._catalog = catalog
        self._recording = recording
        self._file_locks = file_locks
        self._lazy_lock = lazy_lock
        self._lock_store = Breaker()
        self._flights = SingleFlight[str, FileView | None]()

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
        flight = self._flights.join(file_id, lambda: self._refresh(file_id, row))
        await asyncio.wait({flight}, timeout=deadline_seconds)
        if flight.done():
            try:
                return flight.result()
            except (Aborted, Unavailable, DataLoss) as exc:
                _log.info("lazy rebuild not done", file_id=file_id, reason=exc.message)
        else:
            REFRESHES.labels(Outcome.TIME).inc()
            _log.info("lazy rebuild takes too long", file_id=file_id)
        if row is not None:
            return of_row(row, datetime.now(UTC), stale=True)
        return await self.from_sidecar(file_id)

    async def from_sidecar(self, file_id: str, known_path: str = "") -> FileView | None:
        """The file as its sidecar says, without the database; always stale.

        Raises:
            Unavailable: the storage does not answer.
        """
        located = await locate(self._element.reading(), file_id, known_path)
        if located is None:
            await self._element.prove()
            return None
        return of_sidecar(located.sidecar, self._recording.ttl_hours, stale=True)

    async def _refresh(self, file_id: str, row: FileRow | None) -> FileView | None:
        if row is None:
            _log.info("Cache entry missing, looking for the sidecar", file_id=file_id)
        else:
            _log.info("Cache entry expired, triggering lazy rebuild", file_id=file_id)
        progress = _Progress()
        try:
            if row is None and await self._is_absent(file_id, progress):
                view = None
            elif self._element.is_writer:
                view = await self._locked(file_id, progress)
            else:
                view = await self._read_only(file_id, row, progress)
        except Aborted:
            progress.outcome = Outcome.LOCK
            if progress.met is None:
                raise
            # During a rebuild this is every file that it has not come to: they are read once.
            view = of_sidecar(progress.met.sidecar, self._recording.ttl_hours, stale=True)
        except DataLoss:
            progress.outcome = Outcome.INVALID
            raise
        finally:
            REFRESHES.labels(progress.outcome).inc()
        if view is None or not view.cache_stale:
            _log.info("lazy rebuild done", file_id=file_id, outcome=progress.outcome.value)
        return view

    async def _is_absent(self, file_id: str, progress: _Progress) -> bool:
        """Whether a file without a row certainly is not here: nothing is to be written then, so
        the lazy lock is not asked for. Admin asks each element so of every file that it moves.
        """
        if home_of(file_id) is None:
            # Where it would lie only a row tells, which may have come meanwhile.
            return False
        async with self._file_locks.hold(file_id):
            progress.met = await self._locate(file_id, None, progress)
        if progress.met is None:
            return True
        progress.outcome = Outcome.LOCK
        return False

    async def _locked(self, file_id: str, progress: _Progress) -> FileView | None:
        async with self._lock(file_id) as fence, self._file_locks.hold(file_id):
            progress.outcome = Outcome.DATABASE
            row = await self._catalog.reads.get(file_id)
            if row is not None and not row.cache_expired(datetime.now(UTC)):
                progress.outcome = Outcome.FRESH
                return of_row(row, datetime.now(UTC))
            located = await self._locate(file_id, row, progress)
            if located is None:
                return None
            guarded = Guarded(Fence(Guard.LAZY, fence), row.sequence if row else None)
            return await self._write_back(located, row, guarded, progress)

    @asynccontextmanager
    async def _lock(self, file_id: str) -> AsyncIterator[int]:
        if not self._lock_store.allows():
            raise Unavailable("the lock store did not answer a moment ago", reason="LOCKS_DOWN")
        held = False
        try:
            async with self._lazy_lock.hold(file_id) as fence:
                held = True
                self._lock_store.mend()
                yield fence
        except Aborted:
            self._lock_store.mend()
            raise
        except Unavailable:
            if not held:
                self._lock_store.trip()
            raise

    async def _read_only(
        self, file_id: str, row: FileRow | None, progress: _Progress
    ) -> FileView | None:
        """On a standby: nothing is written."""
        located = await self._locate(file_id, row, progress)
        if located is None:
            return None
        progress.outcome = Outcome.READ_ONLY
        return of_sidecar(located.sidecar, self._recording.ttl_hours, stale=False)

    async def _locate(
        self, file_id: str, row: FileRow | None, progress: _Progress
    ) -> ReadSidecar | None:
        progress.outcome = Outcome.STORAGE
        located = await locate(self._element.reading(), file_id, row.path if row else "")
        if located is None:
            await self._element.prove()
            progress.outcome = Outcome.NOT_FOUND
        return located

    async def _write_back(
        self, located: ReadSidecar, row: FileRow | None, guarded: Guarded, progress: _Progress
    ) -> FileView:
        sidecar, ttl = located.sidecar, self._recording.ttl_hours
        tombstone = row is None and sidecar.state not in HAVE_BYTES
        if tombstone or (row is not None and row.pending):
            # Nothing asks for the row of a tombstone or stub, a repair counts and adds it; and what
            # a pending write may still do to the sidecar is the replay's to find out.
            progress.outcome = Outcome.READ_ONLY
            return of_sidecar(sidecar, ttl, stale=False)
        progress.outcome = Outcome.DATABASE
        try:
            view = await self._renewed(located, row, guarded)
            if view is not None:
                progress.outcome = Outcome.UNCHANGED
                return view
            view = await self._recording.write_row(
                sidecar,
                located.identity,
                kind_of_repair(sidecar.state, row.sidecar.state if row else None),
                blob_present=sidecar.state in HAVE_BYTES or row is None or row.blob_present,
                guarded=guarded,
            )
        except ArtStoreError as exc:
            if isinstance(exc, Aborted):
                progress.outcome = Outcome.LOCK
            _log.info("lazy rebuild not written back", reason=exc.message)
            return of_sidecar(sidecar, ttl, stale=True)
        progress.outcome = Outcome.PUT_BACK if row is None else Outcome.REFRESHED
        return view

    async def _renewed(
        self, located: ReadSidecar, row: FileRow | None, guarded: Guarded
    ) -> FileView | None:
        """The row, renewed; None when it does not say what the sidecar says."""
        found = located.digest
        if row is None or row.digest != found:
            return None
        now, ttl = datetime.now(UTC), self._recording.ttl_hours
        renewed = await self._catalog.writes.renew(
            row.sidecar.file_id,
            guarded=guarded,
            digest=found,
            identity=located.identity,
            now=now,
            cache_ttl_hours=ttl,
        )
        if not renewed:
            return None
        return FileView(
            located.sidecar,
            now,
            ttl,
            cache_expired=False,
            sequence=row.sequence,
            blob_present=row.blob_present,
        )
