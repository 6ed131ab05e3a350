"""Finding sidecars and blobs by their file's id, without a database: an index of names per folder.

Listings are shared by those who wait for them, and at most two run at a time, so asking for
ids that do not exist stays cheap. An answer is never older than the question: what was
written and acknowledged before it was asked is found.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mesh.concurrency.single_flight import SingleFlight
from mesh.errors import Unavailable
from storage_server.domain.file_id import time_of
from storage_server.domain.naming import file_id_in_name, is_sidecar_name

MAX_LISTINGS = 2
# A listing takes milliseconds; whoever finds two of them waits that long, no more.
WAIT_SECONDS = 0.25
MAX_KEPT_NAMES = 200_000
_CLOCK_SKEW_SECONDS = 1.0


@dataclass(slots=True)
class FolderNames:
    """Names in a folder, as one listing saw them.

    Attributes:
        stamp: the folder's stamp from before the listing; empty when it cannot be trusted.
        by_id: names by the file id in them; see `names_by_id`.
    """

    stamp: str
    by_id: Mapping[str, Sequence[str]]


@dataclass(slots=True)
class _Index:
    stamp: str
    began: float
    began_wall: float
    by_id: Mapping[str, Sequence[str]] = field(default_factory=dict)


class NameIndex:
    """Indexes of the folders asked for last.

    Args:
        list_names: lists one folder; None when there is no such folder.
        current_stamp: the folder's stamp now. None for a store without stamps: there an index
            lives for `life_seconds` and proves no absence of an id younger than itself.
        life_seconds: see `current_stamp`.
        patient: whether `find` waits for as long as others list, as for ids that are known.
    """

    def __init__(
        self,
        list_names: Callable[[str], Awaitable[FolderNames | None]],
        *,
        current_stamp: Callable[[str], Awaitable[str]] | None = None,
        life_seconds: float = 5.0,
        patient: bool = False,
    ) -> None:
        self._patient = patient
        self._list_names = list_names
        self._current_stamp = current_stamp
        self._life_seconds = life_seconds
        self._kept: OrderedDict[str, _Index] = OrderedDict()
        self._flights = SingleFlight[str, _Index]()
        self._slots = asyncio.Semaphore(MAX_LISTINGS)
        self._changed: dict[str, float] = {}

    async def find(self, file_id: str, folder: str) -> Sequence[str]:
        """Paths in `folder` with `file_id` in their name.

        Raises:
            Unavailable: two other folders are being listed, and take long, or the storage failed.
        """
        index = await self._index_for((file_id,), folder, patient=self._patient)
        return [f"{folder}/{name}" for name in index.by_id.get(file_id, ())]

    async def names_in(self, folder: str) -> Mapping[str, Sequence[str]]:
        """All names in `folder` by the file id in them. Waits for as long as others list.

        Raises:
            Unavailable: the storage failed.
        """
        return (await self._index_for((), folder, patient=True)).by_id

    async def absent(self, file_ids: Collection[str], folder: str) -> Set[str]:
        """Those of `file_ids` that have no sidecar in `folder`, by one listing for all.

        Raises: as `find`.
        """
        index = await self._index_for(file_ids, folder, patient=self._patient)
        return {file_id for file_id in file_ids if file_id not in index.by_id}

    def changed(self, folder: str) -> None:
        """This process wrote or removed something in `folder`."""
        self._kept.pop(folder, None)
        if folder in self._flights:
            self._changed[folder] = time.monotonic()

    async def close(self) -> None:
        """End the listings under way."""
        await self._flights.stop()

    async def _index_for(self, file_ids: Collection[str], folder: str, *, patient: bool) -> _Index:
        """An index of the folder that is not older than the question, where that matters.

        Without `file_ids` one that was kept is good for as long as it is kept.
        """
        asked = time.monotonic()
        index = await self._kept_index(folder, file_ids)
        while index is None:
            flight = self._flights.get(folder) or await self._take_off(folder, patient=patient)
            found = await _landed(flight)
            known = bool(file_ids) and all(file_id in found.by_id for file_id in file_ids)
            if found.began >= asked or known:
                index = found
        return index

    async def _kept_index(self, folder: str, file_ids: Collection[str]) -> _Index | None:
        index = self._kept.get(folder)
        if index is None:
            return None
        if self._current_stamp is not None:
            fresh = bool(index.stamp) and await self._current_stamp(folder) == index.stamp
        else:
            fresh = time.monotonic() - index.began < self._life_seconds and all(
                file_id in index.by_id or _older_than(file_id, index.began_wall)
                for file_id in file_ids
            )
        if not fresh:
            self._kept.pop(folder, None)
            return None
        if folder in self._kept:
            self._kept.move_to_end(folder)
        return index

    async def _take_off(self, folder: str, *, patient: bool) -> asyncio.Task[_Index]:
        try:
            async with asyncio.timeout(None if patient else WAIT_SECONDS):
                await self._slots.acquire()
        except TimeoutError:
            raise Unavailable(
                "too many files are being looked for at once", retry_after_seconds=0.5
            ) from None
        if folder in self._flights:
            # Another one that waited for a slot was here first.
            self._slots.release()
        began = time.monotonic()
        return self._flights.join(folder, lambda: self._list(folder, began))

    async def _list(self, folder: str, began: float) -> _Index:
        try:
            index = _Index("", began, time.time())
            listed = await self._list_names(folder)
            if listed is not None:
                index.stamp = listed.stamp
                index.by_id = listed.by_id
            if self._changed.pop(folder, -1.0) < began and self._may_be_kept(index):
                self._keep(folder, index)
            return index
        finally:
            self._changed.pop(folder, None)
            self._slots.release()

    def _may_be_kept(self, index: _Index) -> bool:
        return self._current_stamp is None or bool(index.stamp)

    def _keep(self, folder: str, index: _Index) -> None:
        self._kept[folder] = index
        while sum(len(each.by_id) for each in self._kept.values()) > MAX_KEPT_NAMES:
            self._kept.popitem(last=False)


async def _landed(flight: asyncio.Task[_Index]) -> _Index:
    try:
        return await asyncio.shield(flight)
    except asyncio.CancelledError:
        if flight.cancelled():
            raise Unavailable("the store is closed", reason="STORAGE_DOWN") from None
        raise


def names_by_id(names: Iterable[str], *, sidecars: bool = True) -> Mapping[str, Sequence[str]]:
    """The sidecars (or else the blobs) among `names` by their file id.

    For a thread, since there may be many.
    """
    by_id: dict[str, list[str]] = {}
    for name in names:
        if is_sidecar_name(name) is sidecars and not name.startswith("."):
            file_id = file_id_in_name(name)
            if file_id is not None:
                by_id.setdefault(file_id, []).append(name)
    return by_id


def _older_than(file_id: str, wall_seconds: float) -> bool:
    try:
        made = time_of(file_id)
    except (ValueError, OverflowError):
        return False
    limit = datetime.fromtimestamp(wall_seconds - _CLOCK_SKEW_SECONDS, UTC)
    return made < limit
