"""Reading the sidecars that differ and merging them into the rows, a batch at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from storage_server.catalog.catalog import Catalog
from storage_server.catalog.merge import FoundFile
from storage_server.catalog.summaries import RowSummary
from storage_server.repair.decisions import keeps_id
from storage_server.repair.reading import InvalidAttr, ReadSidecar, look_at, read_files
from storage_server.repair.run import RebuildRun
from storage_server.repair.survey import Differences
from storage_server.sidecar import FileState
from storage_server.store.port import Store

READ_BATCH = 1000
LOOKS_AGAIN = 3


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A valid sidecar that may become a row."""

    read: ReadSidecar
    blob_present: bool

    @property
    def file_id(self) -> str:
        return self.read.sidecar.file_id

    @property
    def file(self) -> FoundFile:
        return FoundFile(self.read.sidecar, self.read.identity, self.blob_present)


class Merging:
    """The merges of one rebuild.

    Of several sidecars with one id the one that the row names wins, without a row the one in
    the folder of the id's time. Those that may lose wait until everything has been listed.
    """

    def __init__(
        self,
        run: RebuildRun,
        store: Store,
        catalog: Catalog,
        cache_ttl_hours: Callable[[], int],
    ) -> None:
        self._run = run
        self._store = store
        self._catalog = catalog
        self._cache_ttl_hours = cache_ttl_hours
        self._strays: list[_Candidate] = []
        self._missed: list[_Candidate] = []

    async def read_and_merge(self, found: Differences) -> None:
        """Deal with the differences of some folders; one batch is merged while the next is read."""
        paths = [sidecar.path for sidecar in found.to_read]
        merge: asyncio.Task[None] | None = None
        try:
            for start in range(0, len(paths), READ_BATCH):
                candidates = await self._read(found, paths[start : start + READ_BATCH])
                if merge is not None:
                    await merge
                merge = asyncio.create_task(self._merge_read(candidates))
            if merge is not None:
                await merge
        finally:
            if merge is not None and not merge.done():
                merge.cancel()
                await asyncio.gather(merge, return_exceptions=True)

    async def merge_strays(self) -> None:
        """Decide between sidecars with one id, and merge the winners."""
        waiting = sorted(self._strays, key=lambda one: (not one.read.at_home, one.read.path))
        while waiting:
            batch: dict[str, _Candidate] = {}
            later = []
            for stray in waiting:
                if stray.file_id in batch or len(batch) >= READ_BATCH:
                    later.append(stray)
                else:
                    batch[stray.file_id] = stray
            waiting = later
            rows = await self._catalog.summaries.rows_by_id(list(batch))
            found = await look_at(self._store, list(rows.values()))
            winners = []
            for file_id, stray in batch.items():
                row = rows.get(file_id)
                if row is None or row.path == stray.read.path:
                    winners.append(stray)
                elif keeps_id(row.sequence, self._run.s0, found[file_id]):
                    self._run.result.note(
                        InvalidAttr(stray.read.path, f"its file_id is taken by {row.path}")
                    )
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
            for start in range(0, len(missed), READ_BATCH):
                await self._merge_again(missed[start : start + READ_BATCH])

    async def _merge_again(self, missed: Sequence[_Candidate]) -> None:
        s0 = (await self._catalog.feed.head()).sequence
        before = {one.read.path: one for one in missed}
        rows = await self._catalog.summaries.rows_by_id([one.file_id for one in missed])
        candidates = []
        for read in await read_files(self._store, list(before)):
            one = before.pop(read.path)
            if isinstance(read, InvalidAttr):
                self._run.result.note(read)
            elif read.sidecar.file_id == one.file_id:
                row = rows.get(one.file_id)
                if row is None or row.path == read.path:
                    candidates.append(_Candidate(read, one.blob_present))
        self._run.suspects += [rows[one.file_id] for one in before.values() if one.file_id in rows]
        await self._merge(candidates, s0)

    async def _read(self, found: Differences, paths: Sequence[str]) -> list[_Candidate]:
        result = self._run.result
        blobs = found.blob_paths
        candidates: list[_Candidate] = []
        gone = set(paths)
        for read in await read_files(self._store, paths):
            gone.remove(read.path)
            if isinstance(read, InvalidAttr):
                result.attr_files_scanned += 1
                result.note(read)
                continue
            candidates.append(_Candidate(read, read.blob_path in blobs))
            result.attr_files_scanned += read.sidecar.state is not FileState.DELETED
            # Whoever else names this path has lost it: what lies there is another file's.
            self._run.suspects += [
                row
                for row in found.claims.get(read.path, ())
                if row.file_id != read.sidecar.file_id
            ]
        for path in gone:
            self._run.suspects += found.claims.get(path, ())
        self._run.operation.advance(0, len(paths) - len(gone) - len(candidates))
        return candidates

    async def _merge_read(self, candidates: Sequence[_Candidate]) -> None:
        rows = await self._catalog.summaries.rows_by_id([one.file_id for one in candidates])
        await self._merge(self._chosen(candidates, rows), self._run.s0)
        self._run.operation.advance(len(candidates))

    def _chosen(
        self, candidates: Sequence[_Candidate], rows: Mapping[str, RowSummary]
    ) -> list[_Candidate]:
        chosen: dict[str, _Candidate] = {}
        for one in candidates:
            row = rows.get(one.file_id)
            named = row is not None and row.path == one.read.path
            if named or (row is None and one.read.at_home and one.file_id not in chosen):
                chosen[one.file_id] = one
            else:
                self._strays.append(one)
        return list(chosen.values())

    async def _merge(self, candidates: Sequence[_Candidate], s0: int) -> None:
        if not candidates:
            return
        merged = await self._catalog.merge.merge(
            [one.file for one in candidates],
            s0=s0,
            fence=self._run.fence,
            now=self._run.now,
            cache_ttl_hours=self._cache_ttl_hours(),
        )
        self._run.result.entries_created += merged.created
        self._run.result.entries_updated += merged.updated
        self._run.result.entries_deleted += merged.deleted
        newer = set(merged.newer)
        for one in candidates:
            if one.file_id in newer:
                self._missed.append(one)
            else:
                self._run.expected[one.read.path.rpartition("/")[0]] += 1
