"""Reading the sidecars that differ and merging them into the rows, a batch at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Self

from mesh.concurrency.watched import cancel_and_wait
from storage_server.cache.candidates import Candidate, Seen
from storage_server.cache.comparison import Differences, ListedBlobs
from storage_server.cache.pace import Pace
from storage_server.cache.reading import Reading
from storage_server.cache.run import RebuildRun
from storage_server.catalog.catalog import Catalog
from storage_server.catalog.summaries import RowSummary
from storage_server.domain.decisions import keeps_id
from storage_server.domain.naming import blob_beside
from storage_server.domain.sidecar import FileState
from storage_server.sidecars.reading import InvalidAttr, look_at, taken
from storage_server.store.port import UNKNOWN_SIZE, Store

READ_TOGETHER = 1000
DECIDED_TOGETHER = 1000
LOOKS_AGAIN = 3

Claims = dict[str, list[RowSummary]]
_Part = tuple[list[Candidate], Claims]


class Merging:
    """The merges of one rebuild, to be used as a context: what it began ends with that.

    One batch is merged while the next is read. Of several sidecars with one id the one that the
    row names wins (under another form of its name if need be), without a row the one in the
    folder of the id's time; over all of these one that says that the file was erased. Those that
    may lose wait until everything has been listed.
    """

    def __init__(
        self,
        run: RebuildRun,
        store: Callable[[], Store],
        catalog: Catalog,
        cache_ttl_hours: Callable[[], int],
    ) -> None:
        self._run = run
        self._store = store
        self._catalog = catalog
        self._reading = Reading(store, lambda: Seen(run.now, cache_ttl_hours()))
        self._strays: list[Candidate] = []
        self._missed: list[Candidate] = []
        self._waiting: list[Candidate] = []
        self._claims: Claims = {}
        self._pace = Pace()
        self._ahead: asyncio.Task[_Part] | None = None
        self._under_way: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await cancel_and_wait(self._ahead, self._under_way)
        await self._reading.__aexit__(*error)

    async def read_and_merge(self, found: Differences) -> None:
        """Deal with the differences of some folders; the last batches may still be under way."""
        paths = [sidecar.path for sidecar in found.to_read]
        for start in range(0, len(paths), READ_TOGETHER):
            part = self._read_part(found, paths[start : start + READ_TOGETHER])
            await self._take_in(asyncio.create_task(part))

    async def _take_in(self, ahead: asyncio.Task[_Part] | None = None) -> None:
        """What was being read; the next ones are read meanwhile."""
        reading, self._ahead = self._ahead, ahead
        if reading is None:
            return
        candidates, claims = await reading
        self._waiting += candidates
        self._claims |= claims
        if len(self._waiting) + READ_TOGETHER > self._pace.rows:
            await self._begin_merge()

    async def _begin_merge(self) -> None:
        """Merge what waits, when what is being merged has been."""
        await self._merged()
        (candidates, self._waiting), (claims, self._claims) = (
            (self._waiting, []),
            (self._claims, {}),
        )
        self._under_way = asyncio.create_task(self._merge_read(candidates, claims))

    async def _merged(self) -> None:
        if self._under_way is not None:
            await self._under_way
            self._under_way = None

    async def merge_strays(self) -> None:
        """Decide between sidecars with one id, and merge the winners."""
        await self._take_in()
        await self._begin_merge()
        await self._merged()
        waiting = sorted(
            self._strays, key=lambda one: (not one.is_erased, not one.at_home, one.path)
        )
        while waiting:
            batch: dict[str, Candidate] = {}
            later = []
            for stray in waiting:
                if stray.file_id in batch or len(batch) >= DECIDED_TOGETHER:
                    later.append(stray)
                else:
                    batch[stray.file_id] = stray
            waiting = later
            rows = await self._catalog.summaries.rows_by_id(list(batch))
            found = await look_at(self._store(), list(rows.values()))
            winners = []
            for file_id, stray in batch.items():
                row, look = rows.get(file_id), found.get(file_id)
                self._run.note_leftovers([file_id], stray.path)
                if stray.is_erased:
                    winners.append(stray)
                elif row is not None and row.state is FileState.ERASED:
                    self._run.result.note(taken(stray.path, row.path))
                elif row is None or look is None or stray.path in (row.path, look.path):
                    winners.append(stray)
                elif keeps_id(row.sequence, self._run.s0, look.found):
                    self._run.result.note(taken(stray.path, look.path or row.path))
                else:
                    winners.append(stray)
            await self._merge(winners, self._run.s0)

    async def merge_missed(self) -> None:
        """Read again what a direct write changed after S0, with an S0 of its own.

        Such a write may have been undone by hand before the listing. Files that are written
        without pause are left to their writers.
        """
        for _ in range(LOOKS_AGAIN):
            missed, self._missed = self._missed, []
            for start in range(0, len(missed), DECIDED_TOGETHER):
                await self._merge_again(missed[start : start + DECIDED_TOGETHER])

    async def _merge_again(self, missed: Sequence[Candidate]) -> None:
        s0 = (await self._catalog.feed.head()).sequence
        before = {one.path: one for one in missed}
        rows = await self._catalog.summaries.rows_by_id([one.file_id for one in missed])
        blobs = ListedBlobs(
            {blob_beside(one.path): UNKNOWN_SIZE for one in missed if one.blob_present}
        )
        candidates = []
        valid, invalid = await self._candidates(list(before), blobs)
        for bad in invalid:
            del before[bad.path]
            self._run.result.note(bad)
        for read in valid:
            one = before.pop(read.path)
            if read.file_id == one.file_id:
                row = rows.get(one.file_id)
                named = row is None or row.path in (read.path, read.recorded_path)
                if named or read.is_erased:
                    candidates.append(read)
        self._run.suspects += [rows[one.file_id] for one in before.values() if one.file_id in rows]
        await self._merge(candidates, s0)

    async def _read_part(self, found: Differences, paths: Sequence[str]) -> _Part:
        candidates = await self._read(found, paths)
        claims = found.claims
        return candidates, {path: claims[path] for path in paths if path in claims}

    async def _read(self, found: Differences, paths: Sequence[str]) -> list[Candidate]:
        result = self._run.result
        candidates, invalid = await self._candidates(paths, found.blobs)
        for bad in invalid:
            result.note(bad)
        met = {one.path for one in candidates} | {one.path for one in invalid}
        result.attr_files_scanned += len(met) - sum(one.is_tombstone for one in candidates)
        if found.claims:
            # Whoever else names such a path has lost it: what lies there is another file's.
            for one in candidates:
                for row in found.claims.get(one.path, ()):
                    if row.file_id != one.file_id:
                        self._run.suspects.append(row)
            for path in set(paths) - met:
                self._run.suspects += found.claims.get(path, ())
        self._run.operation.advance(0, len(invalid))
        self._run.renamed.update(one.file_id for one in candidates if one.path != one.recorded_path)
        return candidates

    async def _candidates(
        self, paths: Sequence[str], blobs: ListedBlobs
    ) -> tuple[list[Candidate], list[InvalidAttr]]:
        """The sidecars at `paths` that are there, valid ones and others."""
        without_blob = await asyncio.to_thread(_without_blob, paths, blobs)
        return await self._reading.read(paths, without_blob)

    async def _merge_read(self, candidates: Sequence[Candidate], claims: Claims) -> None:
        rows = await self._catalog.summaries.rows_by_id([one.file_id for one in candidates])
        await self._merge(self._chosen(candidates, rows, claims), self._run.s0)
        self._run.operation.advance(len(candidates))

    def _chosen(
        self,
        candidates: Sequence[Candidate],
        rows: Mapping[str, RowSummary],
        claims: Claims,
    ) -> list[Candidate]:
        chosen: dict[str, Candidate] = {}
        for one in candidates:
            row = rows.get(one.file_id)
            # A row claims the sidecar of another name when nothing is left under its own.
            named = row is not None and (
                row.path == one.path
                or any(claim.path == row.path for claim in claims.get(one.path, ()))
            )
            if named or (row is None and one.at_home and one.file_id not in chosen):
                chosen[one.file_id] = one
            else:
                self._strays.append(one)
        return list(chosen.values())

    async def _merge(self, candidates: Sequence[Candidate], s0: int) -> None:
        if not candidates:
            return
        with self._pace.measured(len(candidates)):
            merged = await self._catalog.merge.merge(
                [one.row for one in candidates], s0=s0, fence=self._run.fence
            )
        self._run.result.entries_created += merged.created
        self._run.result.entries_updated += merged.updated
        self._run.result.entries_deleted += merged.deleted
        newer = set(merged.newer)
        self._missed += [one for one in candidates if one.file_id in newer]
        self._run.expected.update(
            one.path.rpartition("/")[0] for one in candidates if one.file_id not in newer
        )


def _without_blob(paths: Sequence[str], blobs: ListedBlobs) -> set[str]:
    return {path for path in paths if not blobs.has(blob_beside(path))}
