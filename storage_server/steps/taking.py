"""How every step is taken: under the file's lock, from its sidecar as it lies there now.

A step is refused when it was decided too long ago, or on another sidecar than the one that is
here. One that was taken already is answered as it was, whatever the sidecar: its answer may have
been lost.
The mode of the element binds users, not steps.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from mesh.concurrency.unbroken import Unbroken
from mesh.errors import Aborted, DataLoss
from mesh.file_ids import canonical_file_id
from storage_server.catalog.port import FileCatalog
from storage_server.domain.file_id import is_canonical
from storage_server.domain.freshness import Freshness
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.origin import Origin
from storage_server.domain.sidecar import Sidecar
from storage_server.element.clock import Clock
from storage_server.element.state import Element
from storage_server.files.by_state import not_found
from storage_server.sidecars.locate import locate, require_row_tells, size_of_blob
from storage_server.sidecars.reading import ReadSidecar
from storage_server.store.port import Store
from storage_server.writing.protocol import HeldFile, Writing
from storage_server.writing.replay import Replay
from storage_server.writing.view import FileView, of_sidecar

Change = Callable[[Sidecar, datetime], Sidecar]
Before = Callable[[Store, ReadSidecar, Sidecar], Awaitable[None]]
After = Callable[[Store, Sidecar], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Decided:
    """A step as it was decided.

    Attributes:
        digest: of the sidecar's fields, as told in changes; empty means that there is none.
        freshness: when that was.
        by: whose step it is, for the feed.
    """

    file_id: str
    digest: str
    freshness: Freshness
    by: Origin

    def require_digest(self, found: ReadSidecar | None) -> None:
        """
        Raises:
            Aborted: reason REVISION_CONFLICT; the sidecar is another one.
        """
        if (found.digest.hex() if found is not None else "") != self.digest:
            raise Aborted(
                "the sidecar is another one than the step was decided on; look again",
                reason="REVISION_CONFLICT",
            )


async def require_bytes(store: Store, sidecar: Sidecar) -> None:
    """
    Raises:
        DataLoss: the file's bytes are not here, or not as many as its sidecar says.
        Unavailable: the store does not answer.
    """
    if await size_of_blob(store, sidecar) != sidecar.size_bytes:
        raise DataLoss(
            f"the bytes of {sidecar.file_id} are missing here, or damaged", reason="BLOB_MISSING"
        )


@dataclass(frozen=True, slots=True)
class Taking:
    """Takes steps on single files; one per server."""

    element: Element
    catalog: FileCatalog
    writing: Writing
    replay: Replay
    unbroken: Unbroken
    clock: Clock

    def checked(self, step: Decided) -> Decided:
        """`step` with the one form of its id.

        Raises:
            NotFound: no file has such an id.
            Aborted: reason STALE; it was decided too long ago, or is still to be.
            Unavailable: this process does not write the element.
            StoreReadOnly: the store takes no writes.
        """
        self.element.writing()
        self.element.require_writes()
        file_id = canonical_file_id(step.file_id)
        if not is_canonical(file_id):
            raise not_found(step.file_id)
        self.writing.require_fresh(step.freshness)
        return replace(step, file_id=file_id)

    async def take(
        self,
        step: Decided,
        change: Change,
        kind: ChangeKind = ChangeKind.UPDATED,
        *,
        before: Before | None = None,
        after: After | None = None,
    ) -> FileView:
        """Change a file's sidecar and its row; goes on when the caller leaves.

        Args:
            change: gives the very sidecar back when the step was taken already.
            before: awaited just before the sidecar is written, with what is there and what will be.
            after: awaited when it is written, before its row: the replay does the same.

        Raises:
            as `checked`; what `change` refuses; Aborted: reason REVISION_CONFLICT.
            Unavailable: storage or database; the step may have been taken.
        """
        return await self.unbroken.run(self._take(self.checked(step), change, kind, before, after))

    async def _take(
        self,
        step: Decided,
        change: Change,
        kind: ChangeKind,
        before: Before | None,
        after: After | None,
    ) -> FileView:
        store = self.element.writing()
        async with self.writing.hold(step.file_id) as held:
            found = await self.look(store, held, step.file_id)
            if found is None:
                step.require_digest(found)
                raise not_found(step.file_id)
            changed = change(found.sidecar, datetime.now(UTC))
            if changed is found.sidecar:
                return await self.as_is(found)
            step.require_digest(found)
            if before is not None:
                await before(store, found, changed)
            self.writing.require_fresh(step.freshness)
            async with held.begin(store, changed, kind, by=step.by, over=found) as write:
                await write.sidecar(changed)
                if after is not None:
                    await after(store, changed)
                return await write.row()

    async def look(self, store: Store, held: HeldFile, file_id: str) -> ReadSidecar | None:
        """The sidecar that is here, once earlier writes of the file are told; None without one.

        The caller holds the file's lock.

        Raises:
            Aborted: an earlier write has arrived just now (reason REVISION_CONFLICT).
            Unavailable: storage or database; or the file may be here without its row.
        """
        row = await self.catalog.reads.get(file_id)
        found = await locate(store, file_id, row.path if row is not None else "")
        if row is None or row.pending:
            waited = await self.replay.before_change(held, file_id)
            if waited and (found is None or not store.conditional_put):
                row = await self.catalog.reads.get(file_id)
                recorded = row.path if row is not None else ""
                again = await locate(store, file_id, found.path if found is not None else recorded)
                if (again and again.digest) != (found and found.digest):
                    raise Aborted(
                        "the file was changed meanwhile; look again", reason="REVISION_CONFLICT"
                    )
        if found is None:
            await self.element.prove()
            if row is None:
                await require_row_tells(self.catalog.reads, file_id)
        return found

    async def as_is(self, found: ReadSidecar) -> FileView:
        """The file as its sidecar says, with what its row says besides."""
        row = await self.catalog.reads.get(found.sidecar.file_id)
        view = of_sidecar(found.sidecar, self.writing.ttl_hours, stale=False)
        if row is None:
            return view
        return replace(
            view,
            cache_updated_at=row.cache_updated_at,
            sequence=row.sequence,
            blob_present=row.blob_present,
        )
