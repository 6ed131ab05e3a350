"""Update, delete, undelete, hold, keep for ever: each rereads the sidecar, then writes it and its
row.

All of it happens under the file's lock and goes on to its end once begun. The sidecar decides:
expected_revision is compared with it, not with the row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import structlog

from mesh.concurrency.unbroken import Unbroken
from mesh.errors import Aborted, ArtStoreError, InvalidArgument, NotFound
from mesh.file_ids import canonical_file_id
from mesh.identity.caller import Caller
from storage_server.catalog.port import FileCatalog
from storage_server.catalog.rows import FileRow
from storage_server.domain.file_id import is_canonical
from storage_server.domain.freshness import Freshness
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.modes import Action
from storage_server.domain.origin import Origin
from storage_server.domain.retention import is_expired, kept_anew
from storage_server.domain.sidecar import FileState, Sidecar, digest
from storage_server.domain.sidecar_changes import made_permanent, tombstoned, undeleted, updated
from storage_server.element.retention import Retention
from storage_server.element.state import Element
from storage_server.files.by_state import not_found, unchangeable
from storage_server.sidecars.locate import locate, locate_blob
from storage_server.sidecars.reading import ReadSidecar
from storage_server.store.port import Store
from storage_server.writing.protocol import HeldFile, Writing
from storage_server.writing.replay import Replay
from storage_server.writing.view import FileView, of_sidecar

_log = structlog.stdlib.get_logger(__name__)

Change = Callable[[Sidecar, datetime], Sidecar]

HOLD_IS_ELSEWHERE = "legal_hold is set and lifted by LifecycleService.SetLegalHold"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A change as asked for."""

    file_id: str
    caller: Caller
    action: Action | None
    kind: ChangeKind
    change: Change
    by: Origin
    expected_revision: int | None = None
    expected_digest: str | None = None
    freshness: Freshness | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes files of the element.

    Attributes:
        retention: how long files are kept, and deleted ones can be brought back.
    """

    element: Element
    catalog: FileCatalog
    writing: Writing
    replay: Replay
    unbroken: Unbroken
    retention: Retention

    async def update(
        self,
        file_id: str,
        values: Mapping[str, Any],
        caller: Caller,
        *,
        by: Origin,
        expected_revision: int | None,
    ) -> FileView:
        """Give some fields new values; see `storage_server.domain.sidecar.UPDATABLE`.

        A file that has expired is there for a change alone that keeps it longer.

        Args:
            by: whose change it is, for the feed.

        Raises:
            NotFound: no such file, or the caller may not read it; reason EXPIRED if it has expired,
                and still has after the change.
            PermissionDenied: no right to write.
            Aborted: reason REVISION_CONFLICT.
            FailedPrecondition: mode or state; StoreReadOnly: the store takes no writes.
            InvalidArgument: a value.
            Unavailable: storage or database; the change may have been made.
        """

        def change(sidecar: Sidecar, now: datetime) -> Sidecar:
            others = dict(values)
            # A file that was read, changed and sent back says what it is; nobody else's to change.
            if others.pop("legal_hold", sidecar.legal_hold) != sidecar.legal_hold:
                raise InvalidArgument(HOLD_IS_ELSEWHERE, field="file.legal_hold")
            longest = self.retention.longest_days(sidecar.namespace)
            changed = updated(sidecar, others, now, longest_retention=longest)
            if self.retention.is_expired(sidecar):
                self.retention.require_current(changed)
            return changed

        return await self._run(
            _Wanted(
                file_id,
                caller,
                Action.UPDATE,
                ChangeKind.UPDATED,
                change,
                by,
                expected_revision,
            )
        )

    async def hold(
        self,
        file_id: str,
        legal_hold: bool,
        caller: Caller,
        *,
        by: Origin,
        expected_digest: str | None = None,
        freshness: Freshness | None = None,
    ) -> FileView:
        """Set or lift a legal hold, in every mode; one that is so already is answered as it is,
        whatever its digest.

        Args:
            by: as for `update`; its reason is why the file is held, or not any more.
            expected_digest: of the sidecar's fields, as told in changes; empty means that there
                must be no sidecar, None sets no condition.
            freshness: when admin decided it; None is not looked at.

        Raises:
            NotFound: no such file, or it is deleted.
            Aborted: reason REVISION_CONFLICT, or STALE.
            FailedPrecondition: the file is moved; StoreReadOnly: the store takes no writes.
            Unavailable: storage or database; the change may have been made.
        """

        def change(sidecar: Sidecar, now: datetime) -> Sidecar:
            if sidecar.legal_hold == legal_hold:
                return sidecar
            return updated(sidecar, {"legal_hold": legal_hold}, now)

        return await self._run(
            _Wanted(
                file_id,
                caller,
                None,
                ChangeKind.UPDATED,
                change,
                by,
                expected_digest=expected_digest,
                freshness=freshness,
            )
        )

    async def make_permanent(
        self,
        file_id: str,
        caller: Caller,
        *,
        by: Origin,
        expected_digest: str | None,
        freshness: Freshness,
    ) -> FileView:
        """Keep a file until it is deleted, where it is; one that is kept so already is answered
        as it is, whatever its digest.

        Raises: as `hold`; NotFound and PermissionDenied also as the caller's namespaces say,
        FailedPrecondition for the mode.
        """

        def change(sidecar: Sidecar, now: datetime) -> Sidecar:
            self.retention.require_current(sidecar)
            return made_permanent(sidecar, now)

        return await self._run(
            _Wanted(
                file_id,
                caller,
                Action.UPDATE,
                ChangeKind.UPDATED,
                change,
                by,
                expected_digest=expected_digest,
                freshness=freshness,
            )
        )

    async def delete(
        self, file_id: str, caller: Caller, *, by: Origin, expected_revision: int | None
    ) -> FileView:
        """Write a tombstone; the bytes wait in the trash.

        Raises: as `update`; FailedPrecondition also for a legal hold.
        """

        def change(sidecar: Sidecar, now: datetime) -> Sidecar:
            self.retention.require_current(sidecar)
            return _deleted(sidecar, now)

        return await self._run(
            _Wanted(
                file_id,
                caller,
                Action.DELETE,
                ChangeKind.DELETED,
                change,
                by,
                expected_revision,
            )
        )

    async def undelete(
        self,
        file_id: str,
        caller: Caller,
        *,
        by: Origin,
        expected_revision: int | None,
        retention_days: int | None = None,
    ) -> FileView:
        """Take a tombstone back, or a file that has expired and was not collected yet; another
        active file is answered as it is.

        Args:
            retention_days: how long a temporary file is kept from now on; None leaves that as it
                was, and an expired one needs it.

        Raises: as `update`; NotFound also when the bytes are gone, FailedPrecondition, reason
            EXPIRED, where `retention_days` is missing.
        """

        def change(sidecar: Sidecar, now: datetime) -> Sidecar:
            at = self.retention.now()
            longest = self.retention.longest_days(sidecar.namespace)
            if sidecar.state is FileState.DELETED:
                return kept_anew(undeleted(sidecar, now), retention_days, at, longest)
            if not is_expired(sidecar, at):
                return sidecar
            if retention_days is None:
                self.retention.require_current(sidecar)
            return kept_anew(updated(sidecar, {}, now), retention_days, at, longest)

        return await self._run(
            _Wanted(
                file_id,
                caller,
                Action.DELETE,
                ChangeKind.UNDELETED,
                change,
                by,
                expected_revision,
            )
        )

    async def _run(self, wanted: _Wanted) -> FileView:
        store = self.element.writing()
        wanted = replace(wanted, file_id=canonical_file_id(wanted.file_id))
        if not is_canonical(wanted.file_id):
            raise not_found(wanted.file_id)
        self._require_fresh(wanted)
        return await self.unbroken.run(self._locked(store, wanted))

    async def _locked(self, store: Store, wanted: _Wanted) -> FileView:
        kind = wanted.kind
        async with self.writing.hold(wanted.file_id) as held:
            row = await self.catalog.reads.get(wanted.file_id)
            located = await self._locate(store, wanted.file_id, row)
            sidecar = located.sidecar
            _check_caller(sidecar, wanted.caller, deleted_is_there=kind is ChangeKind.UNDELETED)
            if wanted.action is not None:
                _check_home(sidecar)
            if row is None or row.pending:
                await self._tell_what_waits(store, held, located)
            if wanted.action is not None:
                self.element.require(wanted.action)
            self.element.require_writes()
            _check_revision(sidecar, wanted.expected_revision)
            if kind is ChangeKind.UNDELETED and sidecar.state is FileState.DELETED:
                await self._require_blob(store, sidecar)
            changed = wanted.change(sidecar, datetime.now(UTC))
            if changed is sidecar:
                return await self._as_is(located)
            check_digest(sidecar, wanted.expected_digest)
            changed = replace(changed, updated_by=wanted.by.actor)
            self._require_fresh(wanted)
            begun = held.begin(store, changed, kind, by=wanted.by, over=located)
            async with begun as write:
                await write.sidecar(changed)
                view = await write.row()
            if kind is ChangeKind.DELETED and not self.retention.trash(sidecar.namespace):
                view = await self._empty_trash(store, view)
            return view

    def _require_fresh(self, wanted: _Wanted) -> None:
        if wanted.freshness is not None:
            self.writing.require_fresh(wanted.freshness)

    async def _locate(self, store: Store, file_id: str, row: FileRow | None) -> ReadSidecar:
        located = await locate(store, file_id, row.path if row is not None else "")
        if located is None:
            await self.element.prove()
            raise not_found(file_id)
        return located

    async def _tell_what_waits(self, store: Store, held: HeldFile, located: ReadSidecar) -> None:
        """Replay earlier writes of the file.

        A write that arrives after `located` was read is not overwritten, so none goes untold.

        Raises:
            Aborted: one has arrived (reason REVISION_CONFLICT).
            Unavailable: storage or database.
        """
        file_id = located.sidecar.file_id
        if not await self.replay.before_change(held, file_id) or store.conditional_put:
            return
        # The store would not refuse to write over what the replay has told by now.
        again = await locate(store, file_id, located.path)
        if again is None or again.digest != located.digest:
            raise Aborted(
                "the file was changed meanwhile; read it again", reason="REVISION_CONFLICT"
            )

    async def _as_is(self, located: ReadSidecar) -> FileView:
        row = await self.catalog.reads.get(located.sidecar.file_id)
        view = of_sidecar(located.sidecar, self.writing.ttl_hours, stale=False)
        if row is None:
            return view
        return replace(view, cache_updated_at=row.cache_updated_at, sequence=row.sequence)

    async def _require_blob(self, store: Store, sidecar: Sidecar) -> None:
        if await locate_blob(store, sidecar) is None:
            raise NotFound(f"the bytes of file {sidecar.file_id} are gone", reason="BLOB_GONE")

    async def _empty_trash(self, store: Store, view: FileView) -> FileView:
        try:
            await remove_blob(store, self.catalog, view.sidecar)
        except ArtStoreError as exc:
            _log.warning("bytes stay in the trash for now", reason=exc.message)
            return view
        return replace(view, blob_present=False)


async def remove_blob(store: Store, catalog: FileCatalog, tombstone: Sidecar) -> None:
    """Remove the bytes of a deleted file for good. The caller holds its lock."""
    path = await locate_blob(store, tombstone)
    if path is not None:
        await store.delete_blob(path)
    await catalog.writes.blob_removed(tombstone.file_id)


def _deleted(sidecar: Sidecar, now: datetime) -> Sidecar:
    tombstone = tombstoned(sidecar, now)
    return replace(tombstone, deleted_at=tombstone.updated_at)


def _check_caller(sidecar: Sidecar, caller: Caller, *, deleted_is_there: bool) -> None:
    gone = sidecar.state is FileState.DELETED and not deleted_is_there
    if gone or sidecar.state is FileState.ERASED or not caller.may_read(sidecar.namespace):
        raise not_found(sidecar.file_id)
    caller.require_write(sidecar.namespace)


def _check_home(sidecar: Sidecar) -> None:
    if (refusal := unchangeable(sidecar)) is not None:
        raise refusal


def _check_revision(sidecar: Sidecar, expected: int | None) -> None:
    if expected is not None and expected != sidecar.revision:
        raise Aborted(
            f"the file has revision {sidecar.revision}, {expected} was expected; read it again",
            reason="REVISION_CONFLICT",
            metadata={"revision": str(sidecar.revision)},
        )


def check_digest(sidecar: Sidecar, expected: str | None) -> None:
    """Raise Aborted, reason REVISION_CONFLICT, unless the sidecar is the expected one.

    Args:
        expected: lower-case hex; None sets no condition.
    """
    if expected is not None and expected != digest(sidecar).hex():
        raise Aborted(
            "the sidecar is another one than the step was decided on; look again",
            reason="REVISION_CONFLICT",
            metadata={"revision": str(sidecar.revision)},
        )
