"""Describing files: one, many, a page of them. What a caller may not read is not there."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from mesh.concurrency.watched import seen
from mesh.contract import MAX_BATCH_FILE_IDS
from mesh.errors import DataLoss, InvalidArgument, NotFound, PermissionDenied, Unavailable
from mesh.file_ids import canonical_file_id
from mesh.identity.caller import ALL_NAMESPACES, Caller
from storage_server.catalog.reads import Reads
from storage_server.catalog.rows import FileRow
from storage_server.domain.file_id import is_canonical
from storage_server.domain.life import HAVE_BYTES
from storage_server.domain.naming import home_of, sidecar_path
from storage_server.domain.sidecar import FileState, Sidecar
from storage_server.element.retention import Retention
from storage_server.element.state import Element
from storage_server.files.by_state import (
    not_found,
    sees_every_state,
    unreadable,
)
from storage_server.files.refresh import DEADLINE_SECONDS, Refresh
from storage_server.sidecars.locate import require_row_tells, size_of_blob
from storage_server.store.side_by_side import side_by_side
from storage_server.writing.view import FileView, of_row

# More than a silent database takes to be given up, and a refresh.
_PATIENT_SECONDS = 5.0
_AT_A_TIME = 8
# As many listings as a store takes.
_SEARCHES_AT_A_TIME = 2
# A batch is answered from what is known once its refreshes have taken so long together.
_BATCH_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class FilePage:
    """A page of files.

    Attributes:
        trash_days: how long the bytes of its tombstones stay, by namespace.
    """

    files: Sequence[FileView]
    next_page_token: str
    total_size: int
    trash_days: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class _Batch:
    """What the files of one call share.

    Attributes:
        known: rows by id; None when the database does not answer.
        ends: by the clock of `time.monotonic`; nothing is refreshed after it.
    """

    known: dict[str, FileRow] | None
    ends: float
    refreshes: asyncio.Semaphore
    searches: asyncio.Semaphore

    @property
    def seconds_left(self) -> float:
        return min(DEADLINE_SECONDS, self.ends - time.monotonic())


class Lookup:
    """Answers from the cache, and from the sidecar where the cache cannot."""

    def __init__(
        self, element: Element, reads: Reads, refresh: Refresh, retention: Retention
    ) -> None:
        self._element = element
        self._reads = reads
        self._refresh = refresh
        self._retention = retention

    async def get(
        self,
        file_id: str,
        caller: Caller,
        *,
        seconds_left: float | None = None,
        show_deleted: bool = False,
        omit_refresh: bool = False,
    ) -> FileView:
        """One file that `caller` may read.

        Args:
            seconds_left: until the caller's deadline, None when it has none.
            show_deleted: a tombstone as well, and a file that has expired; a server that asks for
                itself is told of every state, as the sidecar says.
            omit_refresh: as the cache has it, and nothing is refreshed.

        Raises:
            NotFound: no sidecar, a state that is not read, expired, or a namespace the caller may
                not read.
            Unavailable: neither cache nor storage answers; to a server also while it is not known
                whether the file is here.
        """
        file_id = canonical_file_id(file_id)
        if omit_refresh:
            cached = await self._as_cached(file_id, seconds_left)
            return self._visible(cached, file_id, caller, show_deleted=show_deleted)
        if seconds_left is None or seconds_left > _PATIENT_SECONDS:
            view = await self.find(file_id)
        else:
            view = await self._find_soon(file_id, max(0.05, seconds_left / 3))
        if show_deleted and sees_every_state(caller):
            if view is None:
                view = await self._certainly_absent(file_id)
            if view is not None:
                view = await self._as_stored(view, seconds_left)
        elif view is not None and self._why_not(view.sidecar) is not None:
            view = await self._as_in_store(view, seconds_left) or view
        return self._visible(view, file_id, caller, show_deleted=show_deleted)

    async def with_bytes(self, file_id: str) -> FileView:
        """The file as its sidecar says, of any namespace, in a state in which it always has bytes.

        Raises:
            NotFound: no sidecar, or one that stands for no bytes.
            Unavailable: the storage does not answer.
        """
        file_id = canonical_file_id(file_id)
        row = None
        with suppress(Unavailable):
            self._element.require_tables()
            row = await self._reads.get(file_id) if is_canonical(file_id) else None
        view = await self._refresh.from_sidecar(file_id, row.path if row is not None else "")
        if view is None or view.sidecar.state not in HAVE_BYTES:
            raise not_found(file_id)
        return view

    async def went(self, sidecar: Sidecar) -> NotFound | None:
        """Why a file whose bytes were not found is not read here any more; None if it should be.

        Args:
            sidecar: as it was when its bytes were looked for.

        Raises:
            DataLoss, Unavailable: its sidecar cannot be read.
        """
        path = sidecar_path(sidecar.storage_path, sidecar.storage_filename)
        view = await self._refresh.from_sidecar(sidecar.file_id, path)
        return not_found(sidecar.file_id) if view is None else unreadable(view.sidecar)

    async def find(
        self, file_id: str, *, deadline_seconds: float = DEADLINE_SECONDS
    ) -> FileView | None:
        """The file in any state and of any namespace; None when there is none."""
        if not is_canonical(file_id):
            return None
        try:
            self._element.require_tables()
            row = await self._reads.get(file_id)
        except Unavailable:
            return await self._refresh.from_sidecar(file_id)
        now = datetime.now(UTC)
        if row is not None and not row.cache_expired(now):
            return of_row(row, now)
        return await self._refresh.refreshed(file_id, row, deadline_seconds=deadline_seconds)

    async def _as_cached(self, file_id: str, seconds_left: float | None) -> FileView | None:
        """What the row says, however old; what the sidecar says where no row can be had."""
        if not is_canonical(file_id):
            return None
        patient = _PATIENT_SECONDS if seconds_left is None else seconds_left / 2
        try:
            self._element.require_tables()
            async with asyncio.timeout(min(_PATIENT_SECONDS, patient)):
                row = await self._reads.get(file_id)
        except (Unavailable, TimeoutError):
            row = None
        if row is not None:
            return of_row(row, datetime.now(UTC))
        return await self._refresh.from_sidecar(file_id)

    async def _certainly_absent(self, file_id: str) -> FileView | None:
        """What was not found, looked for by its row as well where its id names no folder."""
        if not is_canonical(file_id) or home_of(file_id) is not None:
            return None
        self._element.require_tables()
        row = await self._reads.get(file_id)
        if row is None:
            await require_row_tells(self._reads, file_id)
            return None
        return await self._refresh.from_sidecar(file_id, row.path)

    async def _as_stored(self, view: FileView, seconds_left: float | None) -> FileView | None:
        """What admin decides by: the sidecar, and whether its bytes are there, as many as it says.

        Raises:
            Unavailable: the store is silent; a cached row is no answer to that.
        """
        stored = await self._as_in_store(view, seconds_left)
        if stored is view:
            raise Unavailable("the store does not say now what the file's sidecar is")
        if stored is None:
            return None
        stored = replace(stored, cache_stale=False)
        if stored.sidecar.state not in (*HAVE_BYTES, FileState.DELETED):
            return stored
        size = await size_of_blob(self._element.reading(), stored.sidecar)
        return replace(stored, blob_present=size == stored.sidecar.size_bytes)

    async def _as_in_store(self, view: FileView, seconds_left: float | None) -> FileView | None:
        """A file as its sidecar says: where the cache has nothing to read, a store that was
        restored from a backup may have it. The cached one when the store does not answer soon.
        """
        sidecar = view.sidecar
        seconds = DEADLINE_SECONDS if seconds_left is None else min(DEADLINE_SECONDS, seconds_left)
        path = sidecar_path(sidecar.storage_path, sidecar.storage_filename)
        try:
            async with asyncio.timeout(seconds):
                return await self._refresh.from_sidecar(sidecar.file_id, path)
        except (Unavailable, DataLoss, TimeoutError):
            return view

    async def _find_soon(self, file_id: str, seconds: float) -> FileView | None:
        """`find` for a caller that does not wait as long as a silent database takes to fail."""
        cached = asyncio.ensure_future(self.find(file_id, deadline_seconds=seconds))
        try:
            await asyncio.wait({cached}, timeout=seconds * 1.5)
            if cached.done():
                return cached.result()
            return await self._refresh.from_sidecar(file_id)
        finally:
            cached.cancel()
            cached.add_done_callback(seen)

    async def get_many(
        self,
        file_ids: Sequence[str],
        caller: Caller,
        *,
        seconds_left: float | None = None,
        show_deleted: bool = False,
    ) -> tuple[Sequence[FileView], Sequence[str]]:
        """Those of the files that are there and that `caller` may read, and the other ids.

        A server is told of expired files as well: it follows this element, and would take what is
        missing for what has gone. What cannot be refreshed in time is answered as stale.

        Args:
            seconds_left: until the caller's deadline, None when it has none.
            show_deleted: as in `get`, but as the cache says.

        Raises:
            InvalidArgument: more than 1,000 ids.
            Unavailable: it cannot be told of some id whether it is there.
        """
        if len(file_ids) > MAX_BATCH_FILE_IDS:
            raise InvalidArgument(f"at most {MAX_BATCH_FILE_IDS} file_ids", field="file_ids")
        file_ids = [canonical_file_id(file_id) for file_id in file_ids]
        wanted = [file_id for file_id in dict.fromkeys(file_ids) if is_canonical(file_id)]
        seconds = _BATCH_SECONDS
        if seconds_left is not None:
            seconds = max(0.05, min(seconds, seconds_left / 3))
        known = await self._found_in_cache(wanted, max(seconds, DEADLINE_SECONDS))
        unknown = [i for i in wanted if known is None or i not in known]
        absent = await self._absent(unknown)
        batch = _Batch(
            known,
            time.monotonic() + seconds,
            asyncio.Semaphore(_AT_A_TIME),
            asyncio.Semaphore(_SEARCHES_AT_A_TIME),
        )
        there = [file_id for file_id in wanted if file_id not in absent]
        views = dict(
            zip(
                there,
                await asyncio.gather(*(self._one_of_many(i, batch) for i in there)),
                strict=True,
            )
        )
        found, missing = [], []
        for file_id in file_ids:
            view = views.get(file_id)
            if (
                view is not None
                and caller.may_read(view.sidecar.namespace)
                and self._is_shown(view.sidecar, caller, show_deleted=show_deleted, in_batch=True)
            ):
                found.append(view)
            else:
                missing.append(file_id)
        return found, missing

    async def list_files(
        self,
        caller: Caller,
        *,
        namespace: str,
        page_size: int,
        page_token: str,
        show_deleted: bool = False,
        only_trash: bool = False,
    ) -> FilePage:
        """Active files of the namespaces that `caller` may read, oldest first, from the cache;
        none that has expired.

        Args:
            show_deleted: tombstones as well.
            only_trash: tombstones alone, those whose bytes are there.

        Raises:
            InvalidArgument: page_size or page_token.
            PermissionDenied: a namespace the caller may not read.
            Unavailable: the database does not answer.
        """
        if "\0" in namespace:
            raise InvalidArgument("namespace holds NUL", field="namespace")
        if namespace and not caller.may_read(namespace):
            raise PermissionDenied(f"the token may not read namespace {namespace[:64]!r}")
        namespaces: Sequence[str] | None
        if namespace:
            namespaces = [namespace]
        elif ALL_NAMESPACES in caller.namespaces_read:
            namespaces = None
        else:
            namespaces = sorted(caller.namespaces_read)
        self._element.require_tables()
        page = await self._reads.list_files(
            namespaces=namespaces,
            page_size=page_size,
            page_token=page_token,
            show_deleted=show_deleted,
            only_trash=only_trash,
            unexpired_at=self._retention.now(),
        )
        now = datetime.now(UTC)
        trash_days = {
            row.sidecar.namespace: self._retention.trash(row.sidecar.namespace) / timedelta(days=1)
            for row in page.rows
            if row.sidecar.state is FileState.DELETED
        }
        return FilePage(
            [of_row(row, now) for row in page.rows],
            page.next_page_token,
            page.total_size,
            trash_days,
        )

    async def _found_in_cache(
        self, file_ids: Sequence[str], seconds: float
    ) -> dict[str, FileRow] | None:
        """Rows by id; None when the database does not answer."""
        try:
            self._element.require_tables()
            async with asyncio.timeout(seconds):
                return await self._reads.get_many(file_ids)
        except (Unavailable, TimeoutError):
            return None

    async def _absent(self, file_ids: Sequence[str]) -> set[str]:
        """Those that have no sidecar, by one listing for each folder that their ids name.

        An id that names no folder is left to `_one_of_many`.
        """
        by_folder: dict[str, list[str]] = {}
        for file_id in file_ids:
            if (home := home_of(file_id)) is not None:
                by_folder.setdefault(home, []).append(file_id)
        absent: set[str] = set()
        folders = deque(by_folder)

        async def look() -> None:
            while folders:
                folder = folders.popleft()
                absent.update(await self._element.reading().absent(by_folder[folder], folder))

        await side_by_side([look() for _ in range(min(_SEARCHES_AT_A_TIME, len(folders)))])
        if absent:
            # An unmounted store lacks everything.
            await self._element.prove()
        return absent

    async def _one_of_many(self, file_id: str, batch: _Batch) -> FileView | None:
        row = batch.known.get(file_id) if batch.known is not None else None
        if row is None:
            async with batch.searches:
                seconds = batch.seconds_left
                if batch.known is None or seconds <= 0:
                    return await self._refresh.from_sidecar(file_id)
                return await self._refresh.refreshed(file_id, None, deadline_seconds=seconds)
        now = datetime.now(UTC)
        if not row.cache_expired(now):
            return of_row(row, now)
        async with batch.refreshes:
            seconds = batch.seconds_left
            if seconds <= 0:
                return of_row(row, datetime.now(UTC), stale=True)
            return await self._refresh.refreshed(file_id, row, deadline_seconds=seconds)

    def _visible(
        self, view: FileView | None, file_id: str, caller: Caller, *, show_deleted: bool
    ) -> FileView:
        """`view` if the caller may see it.

        Raises:
            NotFound: there is none, or not for this caller, or its state is not read; reason
                FILE_DELETED for a tombstone, EXPIRED for a file that has expired.
        """
        if view is None or not caller.may_read(view.sidecar.namespace):
            raise not_found(file_id)
        if not self._is_shown(view.sidecar, caller, show_deleted=show_deleted):
            raise self._why_not(view.sidecar) or not_found(file_id)
        return view

    def _is_shown(
        self, sidecar: Sidecar, caller: Caller, *, show_deleted: bool, in_batch: bool = False
    ) -> bool:
        gone = sidecar.state is FileState.DELETED or self._retention.is_expired(sidecar)
        if show_deleted and (gone or sees_every_state(caller)):
            return True
        if in_batch and sees_every_state(caller):
            return unreadable(sidecar) is None
        return self._why_not(sidecar) is None

    def _why_not(self, sidecar: Sidecar) -> NotFound | None:
        """Why a user does not read it; None when it is read."""
        return unreadable(sidecar) or self._retention.why_expired(sidecar)
