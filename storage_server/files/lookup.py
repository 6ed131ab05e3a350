"""Describing files: one, many, a page of them. What a caller may not read is not there."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mesh.concurrency.watched import seen
from mesh.contract import MAX_BATCH_FILE_IDS
from mesh.errors import DataLoss, InvalidArgument, NotFound, PermissionDenied, Unavailable
from mesh.file_ids import canonical_file_id
from mesh.identity.caller import ALL_NAMESPACES, Caller
from storage_server.catalog.reads import Reads
from storage_server.catalog.rows import FileRow
from storage_server.domain.file_id import is_canonical
from storage_server.domain.naming import home_of, sidecar_path
from storage_server.domain.sidecar import FileState
from storage_server.element.state import Element
from storage_server.files.refresh import DEADLINE_SECONDS, Refresh
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
    """A page of files."""

    files: Sequence[FileView]
    next_page_token: str
    total_size: int


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

    def __init__(self, element: Element, reads: Reads, refresh: Refresh) -> None:
        self._element = element
        self._reads = reads
        self._refresh = refresh

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
            show_deleted: a tombstone as well.
            omit_refresh: as the cache has it, and nothing is refreshed.

        Raises:
            NotFound: no sidecar, a tombstone, or a namespace the caller may not read.
            Unavailable: neither cache nor storage answers.
        """
        file_id = canonical_file_id(file_id)
        if omit_refresh:
            cached = await self._as_cached(file_id, seconds_left)
            return visible(cached, file_id, caller, show_deleted=show_deleted)
        if seconds_left is None or seconds_left > _PATIENT_SECONDS:
            view = await self.find(file_id)
        else:
            view = await self._find_soon(file_id, max(0.05, seconds_left / 3))
        if view is not None and view.sidecar.state is FileState.DELETED:
            view = await self._as_in_store(view, seconds_left)
        return visible(view, file_id, caller, show_deleted=show_deleted)

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

    async def _as_in_store(self, view: FileView, seconds_left: float | None) -> FileView:
        """A file that the cache calls deleted, as its sidecar says: a store that was restored from
        a backup may have it. The cached one when the store does not answer soon.
        """
        sidecar = view.sidecar
        seconds = DEADLINE_SECONDS if seconds_left is None else min(DEADLINE_SECONDS, seconds_left)
        path = sidecar_path(sidecar.storage_path, sidecar.storage_filename)
        try:
            async with asyncio.timeout(seconds):
                return await self._refresh.from_sidecar(sidecar.file_id, path) or view
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
        self, file_ids: Sequence[str], caller: Caller, *, seconds_left: float | None = None
    ) -> tuple[Sequence[FileView], Sequence[str]]:
        """Those of the files that are there and that `caller` may read, and the other ids.

        What cannot be refreshed in time is answered as stale.

        Args:
            seconds_left: until the caller's deadline, None when it has none.

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
            if view is not None and _is_visible(view, caller):
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
    ) -> FilePage:
        """Active files of the namespaces that `caller` may read, oldest first, from the cache.

        Args:
            show_deleted: tombstones as well.

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
        )
        now = datetime.now(UTC)
        return FilePage(
            [of_row(row, now) for row in page.rows], page.next_page_token, page.total_size
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


def visible(
    view: FileView | None, file_id: str, caller: Caller, *, show_deleted: bool = False
) -> FileView:
    """`view` if the caller may see it.

    Raises:
        NotFound: there is none, or not for this caller; reason FILE_DELETED for a tombstone.
    """
    if view is None or not caller.may_read(view.sidecar.namespace):
        raise not_found(file_id)
    if view.sidecar.state is FileState.DELETED and not show_deleted:
        raise NotFound(f"file {file_id[:64]!r} was deleted", reason="FILE_DELETED")
    return view


def not_found(file_id: str) -> NotFound:
    """The one answer for a file that never was here, or is not for this caller."""
    return NotFound(f"no file {file_id[:64]!r}")


def _is_visible(view: FileView, caller: Caller) -> bool:
    sidecar = view.sidecar
    return sidecar.state is not FileState.DELETED and caller.may_read(sidecar.namespace)
