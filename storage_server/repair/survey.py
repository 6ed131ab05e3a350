"""One walk over listing and rows; only folders that differ are looked at file by file."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from storage_server.catalog.summaries import (
    FolderSummary,
    RowKeys,
    RowSummary,
    Summaries,
    fingerprint,
    key_of,
)
from storage_server.naming import split_sidecar_path
from storage_server.repair.decisions import Verdict, compare
from storage_server.store.port import UNREADABLE_SIZE, ListedFolder, ListedSidecar, Store

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
    """A folder whose rows were made from just these sidecars, none of them damaged."""

    listing: ListedFolder
    summary: FolderSummary


@dataclass(slots=True)
class Differences:
    """Folders that are to be looked at file by file, all at once.

    Attributes:
        listings: of those that are in the store.
        rows, live_rows: how many rows name these folders; live ones are no tombstones.
        expired: how many of live_rows have expired.
        agreeing: ids of the rows that say what the listing shows.
        agreeing_live: how many of them are no tombstones.
        agreeing_in: how many of them there are in each folder.
        tombstones: paths of the blobs (perhaps gone) of rows that are tombstones.
        to_read: sidecars that are new, changed, or whose row is damaged.
        unreadable: paths of folders and devices that are called like sidecars.
        claims: rows whose path was listed, but not as they say; by that path.
        suspects: rows whose path was not listed.
        blob_paths: of the blobs that were listed.
    """

    listings: Sequence[ListedFolder]
    rows: int = 0
    live_rows: int = 0
    expired: int = 0
    agreeing: list[str] = field(default_factory=list)
    agreeing_live: int = 0
    agreeing_in: Counter[str] = field(default_factory=Counter)
    tombstones: set[str] = field(default_factory=set)
    to_read: list[ListedSidecar] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    claims: dict[str, list[RowSummary]] = field(default_factory=dict)
    suspects: list[RowSummary] = field(default_factory=list)
    blob_paths: frozenset[str] = frozenset()


Surveyed = EqualFolder | Differences


async def survey(
    store: Store,
    summaries: Summaries,
    *,
    verified: Mapping[str, Verified] | None = None,
) -> AsyncGenerator[Sequence[Surveyed], None]:
    """Walk the whole store, in batches; a walk that ends without an error was complete.

    Folders that are rows only come last, after the listing's end. With `verified` (QUICK) a
    folder whose stamp has not moved, and whose rows are as many and as old, counts as equal.

    Raises:
        Unavailable: the listing could not be completed, or PostgreSQL does not answer.
    """
    walk = _Walk(summaries)
    stamps = await walk.begin(verified)
    listed: set[str] = set()
    batch: list[ListedFolder] = []
    waiting: deque[Sequence[ListedFolder]] = deque()
    files = ahead = 0
    try:
        async for folder in store.scan(known_stamps=stamps):
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

    def __init__(self, summaries: Summaries) -> None:
        self._summaries = summaries
        self._folders: asyncio.Task[dict[str, FolderSummary]] | None = None
        self._counts: dict[str, FolderSummary] = {}

    async def begin(self, verified: Mapping[str, Verified] | None) -> Mapping[str, str] | None:
        """Ask for the rows' side; the stamps of the folders that need not be listed."""
        if verified is None:
            self._folders = asyncio.create_task(self._summaries.folders())
            return None
        self._counts = await self._summaries.counts()
        return {
            path: before.stamp
            for path, before in verified.items()
            if before.stamp and _as_before(before, self._counts.get(path))
        }

    async def end(self) -> None:
        """Leave nothing running."""
        if self._folders is not None:
            self._folders.cancel()
            await asyncio.gather(self._folders, return_exceptions=True)

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
            known = await self._summaries.folders(listed) if listed else {}
            known |= {one.path: self._counts[one.path] for one in batch if one.unchanged}
        equal = await asyncio.to_thread(_equal, batch, known)
        found: list[Surveyed] = [EqualFolder(one, known[one.path]) for one in equal]
        same = {one.path for one in equal}
        different = [
            one
            for one in batch
            if one.path not in same and (one.sidecars or one.blobs or one.path in known)
        ]
        if different:
            found.append(await self._differences(different, known))
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
        comparison = await asyncio.to_thread(_Comparison, found)
        if with_rows:
            for keys in await self._summaries.keys_in(with_rows):
                await asyncio.to_thread(comparison.take, keys)
        rows: list[RowSummary] = []
        for start in range(0, len(comparison.other_ids), BATCH_ROWS):
            ids = comparison.other_ids[start : start + BATCH_ROWS]
            rows += (await self._summaries.rows_by_id(ids)).values()
        await asyncio.to_thread(comparison.end, rows)
        return found


class _Comparison:
    """Finds out which files of some folders differ. Its methods are for a thread."""

    def __init__(self, found: Differences) -> None:
        self._found = found
        self._listed = {key_of(one): one for folder in found.listings for one in folder.sidecars}
        self._met: set[str] = set()
        found.blob_paths = frozenset(
            f"{folder.path}/{name}" for folder in found.listings for name, _ in folder.blobs
        )
        self.other_ids: list[str] = []

    def take(self, keys: RowKeys) -> None:
        """Some rows: those that say what the listing shows are dealt with by this."""
        found = self._found
        for file_id, key in zip(keys.file_ids, keys.keys, strict=True):
            if key in self._listed and key not in self._met:
                self._met.add(key)
                found.agreeing.append(file_id)
                found.agreeing_in[self._listed[key].path.rpartition("/")[0]] += 1
            else:
                self.other_ids.append(file_id)
        found.rows += len(keys.keys)
        found.live_rows += len(keys.keys) - len(keys.tombstones)
        dead = [key for key in keys.tombstones if key in self._listed]
        found.agreeing_live += len(keys.keys) - len(dead)
        found.tombstones.update(key.rsplit("\t", 4)[0] for key in dead)

    def end(self, others: Sequence[RowSummary]) -> None:
        """Sort the other rows, and the sidecars that no row agrees with."""
        found = self._found
        found.agreeing_live -= len(self.other_ids)
        by_path = {one.path: one for one in self._listed.values()}
        doubtful = {one.path: one for key, one in self._listed.items() if key not in self._met}
        for row in others:
            if row.path in by_path:
                found.claims.setdefault(row.path, []).append(row)
                doubtful[row.path] = by_path[row.path]
            else:
                found.suspects.append(row)
        for path, sidecar in doubtful.items():
            if sidecar.identity.size == UNREADABLE_SIZE:
                found.unreadable.append(path)
            elif Verdict.READ in {
                _verdict(sidecar, row) for row in found.claims.get(path, (None,))
            }:
                found.to_read.append(sidecar)


def _verdict(sidecar: ListedSidecar, row: RowSummary | None) -> Verdict:
    return compare(
        sidecar.identity,
        row.identity if row else None,
        row_intact=row.intact if row else True,
    )


def _equal(batch: Sequence[ListedFolder], known: Mapping[str, FolderSummary]) -> list[ListedFolder]:
    return [one for one in batch if one.unchanged or _same(one, summary=known.get(one.path))]


def _same(listing: ListedFolder, summary: FolderSummary | None) -> bool:
    if summary is None or summary.damaged or summary.rows != len(listing.sidecars):
        return False
    return summary.fingerprint == fingerprint(listing.sidecars)


def _as_before(before: Verified, counts: FolderSummary | None) -> bool:
    return counts is not None and (before.rows, before.newest_sequence) == (
        counts.rows,
        counts.newest_sequence,
    )


def blobs_complete(folder: EqualFolder) -> bool:
    """Whether there is just one blob for each sidecar; those of tombstones may be gone."""
    missing, orphans = compare_blobs(folder)
    return not missing and not orphans


def compare_blobs(folder: EqualFolder) -> tuple[set[str], set[str]]:
    """Names of blobs that are missing, and of blobs that no sidecar names."""
    blobs = {name for name, _ in folder.listing.blobs}
    named = {split_sidecar_path(one.path)[1] for one in folder.listing.sidecars}
    return named - blobs - folder.summary.tombstones, blobs - named
