"""Erasing a file for ever: what stays is a sidecar of another name that says when, by whom, why.

    intent committed
    erased sidecar written   from here on the file is erased to whoever asks; nothing undoes it
    all else removed         bytes, then the sidecar that named them, uploads, request ids
    row, feed, end of intent

Killed after the second step, the replay goes on with the third; with the tables lost as well, a
rebuild does. Before it, there is the file as it was.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

import structlog

from mesh.concurrency.unbroken import Unbroken
from mesh.errors import DataLoss, FailedPrecondition, InvalidArgument, Unavailable
from mesh.file_ids import canonical_file_id
from storage_server.catalog.port import FileCatalog
from storage_server.domain import life
from storage_server.domain.file_id import is_canonical
from storage_server.domain.freshness import Freshness
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.origin import Origin
from storage_server.domain.sidecar import Sidecar
from storage_server.element.state import Element
from storage_server.files.changes import check_digest
from storage_server.sidecars.locate import locate
from storage_server.sidecars.reading import ReadSidecar
from storage_server.store.port import Store
from storage_server.writing.protocol import HeldFile, Writing
from storage_server.writing.remains import Remains
from storage_server.writing.replay import Replay
from storage_server.writing.view import FileView

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Erasure:
    """What is asked for.

    Attributes:
        namespace: of the file, for an element that has nothing of it.
        expected_digest: of the sidecar that is here; empty means that there must be none, None
            sets no condition.
        by: who erases, and why: both stay.
        freshness: when admin decided it; None is not looked at.
    """

    file_id: str
    by: Origin
    namespace: str = ""
    expected_digest: str | None = None
    freshness: Freshness | None = None


class UploadsOfFiles(Protocol):
    """What becomes of the uploads of a file that is erased."""

    async def requests_of(self, file_id: str) -> Collection[tuple[str, str]]:
        """Account and request id of each."""

    async def end_of_file(self, file_id: str) -> None:
        """End them; they become no file any more."""


@dataclass(frozen=True, slots=True)
class _Here:
    """What the element has of the file.

    Attributes:
        sidecar: as it lies in the store; where that cannot be read, as the row says.
        located: None when there is none that can be read.
    """

    sidecar: Sidecar | None
    located: ReadSidecar | None


@dataclass(frozen=True, slots=True)
class Erasing:
    """Erases files of the element, in every mode, also such as are not here."""

    element: Element
    catalog: FileCatalog
    writing: Writing
    replay: Replay
    remains: Remains
    unbroken: Unbroken
    uploads: UploadsOfFiles

    async def erase(self, asked: Erasure) -> FileView:
        """Erase; one that is erased already is answered as it is.

        Raises:
            InvalidArgument: no id, or one that is not here and tells no time.
            FailedPrecondition: it is held, reason LEGAL_HOLD.
            StoreReadOnly: the store takes no writes.
            Aborted: reason REVISION_CONFLICT, or STALE.
            DataLoss: the sidecar cannot be read, and no row says whether it is held.
            Unavailable: storage, database or Redis; a repeat goes on.
        """
        store = self.element.writing()
        asked = replace(asked, file_id=canonical_file_id(asked.file_id))
        if not is_canonical(asked.file_id):
            raise InvalidArgument("no id of a file", field="condition.file_id")
        self.element.require_writes()
        self._require_fresh(asked)
        return await self.unbroken.run(self._erase(store, asked))

    async def _erase(self, store: Store, asked: Erasure) -> FileView:
        async with self.writing.hold(asked.file_id):
            self._tombstone(asked, await self._look(store, asked))
        for account, request_id in await self.uploads.requests_of(asked.file_id):
            await self.remains.forget_request(account, request_id)
        await self.uploads.end_of_file(asked.file_id)
        async with self.writing.hold(asked.file_id) as held:
            await self._settle_writes(held, asked.file_id)
            here = await self._look(store, asked)
            tombstone = self._tombstone(asked, here)
            if here.located is not None and here.sidecar is tombstone:
                return await self._again(store, held, here.located)
            self._require_fresh(asked)
            view = await self._write(store, held, tombstone, here.sidecar, asked.by)
        _log.info("file erased", file_id=asked.file_id, requested_by=asked.by.actor)
        return view

    async def _write(
        self, store: Store, held: HeldFile, tombstone: Sidecar, before: Sidecar | None, by: Origin
    ) -> FileView:
        begun = held.begin(store, tombstone, ChangeKind.ERASED, by=by, before=before)
        async with begun as write:
            await write.sidecar(tombstone)
            await self.remains.remove(store, tombstone.file_id, write.path)
            return await write.row(blob_present=False)

    async def _again(self, store: Store, held: HeldFile, found: ReadSidecar) -> FileView:
        """It is erased: see to it that nothing has come back, and that the row says so."""
        file_id = found.sidecar.file_id
        await self.remains.remove(store, file_id, found.path)
        row = await self.catalog.reads.get(file_id)
        if row is None or row.pending or row.digest != found.digest:
            return await held.row(found, ChangeKind.ERASED, blob_present=False)
        return FileView(
            found.sidecar,
            row.cache_updated_at,
            row.cache_ttl_hours,
            cache_expired=False,
            sequence=row.sequence,
            blob_present=False,
        )

    def _require_fresh(self, asked: Erasure) -> None:
        if asked.freshness is not None:
            self.writing.require_fresh(asked.freshness)

    async def _settle_writes(self, held: HeldFile, file_id: str) -> None:
        """Let earlier writes come to their ends: what lands later would not be removed."""
        await self.replay.before_change(held, file_id)
        if await self.catalog.pending.of_file(file_id):
            raise Unavailable(
                f"an earlier write of {file_id} may still reach the store; try again in a minute",
                reason="STORAGE_DOWN",
            )

    async def _look(self, store: Store, asked: Erasure) -> _Here:
        row = await self.catalog.reads.get(asked.file_id)
        try:
            located = await locate(store, asked.file_id, row.path if row is not None else "")
        except DataLoss:
            if row is None:
                raise
            return _Here(row.sidecar, None)
        if located is None:
            await self.element.prove()
            return _Here(None, None)
        return _Here(located.sidecar, located)

    def _tombstone(self, asked: Erasure, here: _Here) -> Sidecar:
        """What is to be written; the sidecar itself if the file is erased already.

        Raises: as `erase`.
        """
        sidecar, by, now = here.sidecar, asked.by, datetime.now(UTC)
        try:
            erased = life.erased(asked.file_id, sidecar, by.actor, by.reason, now)
        except (ValueError, OverflowError) as exc:
            raise InvalidArgument(
                "nothing of it is here, and the id tells no time", field="condition.file_id"
            ) from exc
        if erased is sidecar:
            return erased
        if here.located is not None:
            check_digest(here.located.sidecar, asked.expected_digest)
        elif sidecar is None and asked.expected_digest:
            raise FailedPrecondition(f"nothing of file {asked.file_id} is here; look again")
        return erased if sidecar is not None else replace(erased, namespace=asked.namespace)
