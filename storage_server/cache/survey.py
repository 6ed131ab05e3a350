"""One walk over listing and rows; only folders that differ are looked at file by file."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from mesh.concurrency.watched import cancel_and_wait
from storage_server.cache.comparison import (
    ComparedBlobs,
    Comparison,
    Differences,
    compare_blobs,
    without_rows,
)
from storage_server.catalog.summaries import FolderSummary, RowSummary, Summaries, fingerprint
from storage_server.domain.naming import blob_beside
from storage_server.store.port import ListedFolder, Store

BATCH_SIDECARS = 4000
BATCH_FOLDERS = 500
BATCH_ROWS = 2000
# Listed while PostgreSQL is still at its side; some 35 MB of them.
AHEAD_FILES = 100_000


@dataclass(frozen=True, slots=True)
class Verified:
    """A folder as it was when listing and rows were last found equal, and its blobs complete.

    Attributes:
        stamp: of the listing.
        rows: how many there were.
        newest_sequence: the highest among them.
    """

    stamp: str
    rows: int
    newest_sequence: int


@dataclass(frozen=True, slots=True)
class EqualFolder:
    """A folder whose rows were made from just these sidecars, none of them damaged.

    With `has_blobs` each file that is no tombstone also has its blob, of the recorded size.
    """

    listing: ListedFolder
    summary: FolderSummary
    has_blobs: bool = False

    def compare_blobs(self) -> ComparedBlobs:
        """Its blobs by name; those of tombstones may be gone."""
        listing = self.listing
        if self.has_blobs and len(listing.blobs) == len(listing.sidecars):
            return ComparedBlobs({}, frozenset(), frozenset())
        named = {blob_beside(one.path).rpartition("/")[2] for one in listing.sidecars}
        found = compare_blobs(named, {name for name, _ in listing.blobs})
        return ComparedBlobs(found.forms, found.missing - self.summary.tombstones, found.orphans)


Surveyed = EqualFolder | Differences


async def survey(
    store: Store,
    summaries: Summaries,
    *,
    verified: Mapping[str, Verified] | None = None,
    blob_sizes: bool = False,
) -> AsyncGenerator[Sequence[Surveyed], None]:
    """Walk the whole store, in batches; a walk that ends without an error was complete.

    Folders that are rows only come last, after the listing's end. With `verified` (QUICK) a
    folder whose stamp has not moved, and whose rows are as many and as old, counts as equal.

    Args:
        blob_sizes: whether a folder with a blob that is missing or has another size is different.

    Raises:
        Unavailable: the listing could not be completed, or PostgreSQL does not answer.
    """
    walk = _Walk(summaries, blob_sizes=blob_sizes)
    stamps = await walk.begin(verified)
    listed: set[str] = set()
    batch: list[ListedFolder] = []
    waiting: deque[Sequence[ListedFolder]] = deque()
    files = ahead = 0
    try:
        async for folder in store.scan(known_stamps=stamps, blob_sizes=blob_sizes):
            listed.add(folder.path)
            batch.append(folder)
            files += len(folder.sidecars) + len(folder.blobs)
            if files >= BATCH_SIDECARS or len(batch) >= BATCH_FOLDERS:
                waiting.append(batch)
                ahead += files
                batch, files = [], 0
                if walk.has_rows or ahead >= AHEAD_FILES:
                    ahead = 0
                    while waiting:
                        yield await walk.compare(waiting.popleft())
        waiting.append(batch)
        while waiting:
            yield await walk.compare(waiting.popleft())
        async for differences in walk.rows_only(listed):
            yield [differences]
    finally:
        await walk.end()


class _Walk:
    """What a walk knows of the rows."""

    def __init__(self, summaries: Summaries, *, blob_sizes: bool) -> None:
        self._summaries = summaries
        self._blob_sizes = blob_sizes
        self._folders: asyncio.Task[dict[str, FolderSummary]] | None = None
        self._counts: dict[str, FolderSummary] = {}

    async def begin(self, verified: Mapping[str, Verified] | None) -> Mapping[str, str] | None:
        """Ask for the rows' side; the stamps of the folders that need not be listed."""
        if verified is None:
            self._folders = asyncio.create_task(
                self._summaries.folders(blob_sizes=self._blob_sizes)
            )
            return None
        self._counts = await self._summaries.counts()
        return {
            path: before.stamp
            for path, before in verified.items()
            if before.stamp and _as_before(before, self._counts.get(path))
        }

    async def end(self) -> None:
        """Leave nothing running."""
        await cancel_and_wait(self._folders)

    @property
    def has_rows(self) -> bool:
        """Whether `compare` need not wait for PostgreSQL's scan."""
        return self._folders is None or self._folders.done()

    async def compare(self, batch: Sequence[ListedFolder]) -> list[Surveyed]:
        """Sort folders into equal and different ones."""
        if self._folders is not None:
            known = await self._folders
        else:
            listed = [one.path for one in batch if not one.unchanged]
            known = {}
            if listed:
                known = await self._summaries.folders(listed, blob_sizes=self._blob_sizes)
            known |= {one.path: self._counts[one.path] for one in batch if one.unchanged}
        equal = await asyncio.to_thread(_equal, batch, known, self._blob_sizes)
        found: list[Surveyed] = [
            EqualFolder(one, known[one.path], self._blob_sizes) for one in equal
        ]
        same = {one.path for one in equal}
        different = [one for one in batch if one.path in known and one.path not in same]
        if different:
            found.append(await self._differences(different, known))
        new = [one for one in batch if one.path not in known and (one.sidecars or one.blobs)]
        if new:
            found.append(await asyncio.to_thread(without_rows, new))
        return found

    async def rows_only(self, listed: set[str]) -> AsyncIterator[Differences]:
        """The rows of folders that are not in the store."""
        known = self._counts if self._folders is None else await self._folders
        folders = [path for path in known if path not in listed]
        for start in range(0, len(folders), BATCH_FOLDERS):
            part = folders[start : start + BATCH_FOLDERS]
            yield await self._differences([], {path: known[path] for path in part})

    async def _differences(
        self, listings: Sequence[ListedFolder], known: Mapping[str, FolderSummary]
    ) -> Differences:
        paths = [one.path for one in listings] or known
        with_rows = [path for path in paths if path in known]
        found = Differences(listings, expired=sum(known[path].expired for path in with_rows))
        comparison = await asyncio.to_thread(Comparison, found)
        if with_rows:
            for keys in await self._summaries.keys_in(with_rows):
                await asyncio.to_thread(comparison.take, keys)
        rows: list[RowSummary] = []
        for start in range(0, len(comparison.other_ids), BATCH_ROWS):
            ids = comparison.other_ids[start : start + BATCH_ROWS]
            rows += (await self._summaries.rows_by_id(ids)).values()
        await asyncio.to_thread(comparison.end, rows)
        return found


def _equal(
    batch: Sequence[ListedFolder], known: Mapping[str, FolderSummary], blob_sizes: bool
) -> list[ListedFolder]:
    return [one for one in batch if one.unchanged or _same(one, known.get(one.path), blob_sizes)]


def _same(listing: ListedFolder, summary: FolderSummary | None, blob_sizes: bool) -> bool:
    if summary is None or summary.damaged or summary.rows != len(listing.sidecars):
        return False
    blobs = dict(listing.blobs) if blob_sizes else None
    return summary.fingerprint == fingerprint(listing.sidecars, blobs, summary.tombstones)


def _as_before(before: Verified, counts: FolderSummary | None) -> bool:
    return counts is not None and (before.rows, before.newest_sequence) == (
        counts.rows,
        counts.newest_sequence,
    )
