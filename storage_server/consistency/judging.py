"""Looking again at what the walk of a check met: what is wrong goes into the report."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from storage_server.catalog.catalog import Catalog
from storage_server.catalog.summaries import RowSummary
from storage_server.consistency.report import Finding, Report
from storage_server.consistency.suspicions import Suspicions
from storage_server.naming import file_id_in_name
from storage_server.operations import Operation
from storage_server.repair.decisions import Found
from storage_server.repair.reading import InvalidAttr, ReadSidecar, look_at, read_files
from storage_server.sidecar import FileState
from storage_server.store.port import SIDECAR_SUFFIX, Store

BATCH = 500
STATS_IN_FLIGHT = 32


class Judging:
    """Judges the suspicions of one check.

    Args:
        report: what is wrong is added to it.
    """

    def __init__(
        self, store: Store, catalog: Catalog, operation: Operation, report: Report
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._operation = operation
        self._report = report
        self._claimed: Mapping[str, str] = {}
        self._met: set[str] = set()
        self._without_row: dict[str, list[tuple[bool, str]]] = {}

    async def look_again(self, met: Suspicions) -> None:
        """Look at everything that the walk met.

        Raises:
            Unavailable: the store or PostgreSQL does not answer.
        """
        self._claimed = met.claimed
        for path in met.unreadable:
            self._note_invalid(InvalidAttr(path, "not a regular file"))
        for start in range(0, len(met.paths), BATCH):
            await self._look_at_sidecars(met.paths[start : start + BATCH])
        self._judge_without_row()
        for start in range(0, len(met.rows), BATCH):
            await self._look_at_rows(met.rows[start : start + BATCH])
        for start in range(0, len(met.missing_blobs), BATCH):
            await self._look_at_missing_blobs(met.missing_blobs[start : start + BATCH])
        for start in range(0, len(met.orphan_blobs), BATCH):
            await self._look_at_orphan_blobs(met.orphan_blobs[start : start + BATCH])

    # --- sidecars that seemed new or changed ---------------------------------------------

    async def _look_at_sidecars(self, paths: Sequence[str]) -> None:
        read = await read_files(self._store, paths)
        pending = await self._catalog.pending.pending_ids()
        valid = [one for one in read if isinstance(one, ReadSidecar)]
        rows = await self._catalog.summaries.rows_by_id([one.sidecar.file_id for one in valid])
        elsewhere = {
            one.sidecar.file_id: row
            for one in valid
            if (row := rows.get(one.sidecar.file_id)) is not None and row.path != one.path
        }
        found = await look_at(self._store, list(elsewhere.values()))
        for invalid in read:
            if isinstance(invalid, InvalidAttr):
                self._note_invalid(invalid)
        for one in valid:
            file_id = one.sidecar.file_id
            self._judge(one, rows.get(file_id), file_id in pending, found.get(file_id))
        self._advance(len(read))

    def _note_invalid(self, one: InvalidAttr) -> None:
        # A row that names it is kept and is the same file; without one it counts by its path.
        self._report.total_attr_files += 1
        subject = self._claimed.get(one.path)
        if subject is None:
            self._report.union_size += 1
        self._report.note(Finding.INVALID_ATTR, subject or one.path, str(one))

    def _judge(
        self, one: ReadSidecar, row: RowSummary | None, pending: bool, found: Found | None
    ) -> None:
        """Judge a valid sidecar by the row of its id, of which `found` is where that names."""
        report, file_id = self._report, one.sidecar.file_id
        dead = one.sidecar.state is FileState.DELETED
        row_is_live = row is not None and row.state is not FileState.DELETED
        if dead and not row_is_live:
            return
        loses = found is not None and not found.disproves_row
        if dead and loses:
            return
        report.total_attr_files += not dead
        report.union_size += not row_is_live or loses
        if loses and row is not None:
            taken = InvalidAttr(one.path, f"its file_id is taken by {row.path}")
            report.note(Finding.INVALID_ATTR, one.path, str(taken))
        elif pending:
            return
        elif row is None:
            self._without_row.setdefault(file_id, []).append((not one.at_home, one.path))
        elif row.sequence <= report.sequence and (
            row.path != one.path or not row.intact or row.digest != one.digest
        ):
            report.note(Finding.STALE, file_id)
        self._met.add(file_id)

    def _judge_without_row(self) -> None:
        """Of several sidecars with one id the one at home would win; the others are invalid."""
        for file_id, places in self._without_row.items():
            (_, winner), *losers = sorted(places)
            self._report.note(Finding.ORPHAN_ATTR, file_id, winner)
            for _, path in losers:
                twice = InvalidAttr(path, f"its file_id is that of {winner}")
                self._report.note(Finding.INVALID_ATTR, path, str(twice))

    # --- rows whose sidecar seemed missing, or another file's ----------------------------

    async def _look_at_rows(self, suspects: Sequence[RowSummary]) -> None:
        found = await look_at(self._store, suspects)
        pending = await self._catalog.pending.pending_ids()
        rows = await self._catalog.summaries.rows_by_id([row.file_id for row in suspects])
        for before in suspects:
            file_id, row = before.file_id, rows.get(before.file_id)
            if row is None or row.sequence != before.sequence or file_id in pending:
                continue
            live = row.state is not FileState.DELETED
            # A file whose sidecar lies elsewhere was judged by that: its row is stale.
            if live and found[file_id].disproves_row and file_id not in self._met:
                self._report.note(Finding.ORPHAN_CACHE, file_id)
        self._advance(len(suspects))

    # --- blobs ---------------------------------------------------------------------------

    async def _look_at_missing_blobs(self, paths: Sequence[str]) -> None:
        sizes = await self._sizes(paths)
        absent = [path + SIDECAR_SUFFIX for path in paths if sizes[path] is None]
        for one in await read_files(self._store, absent):
            if isinstance(one, InvalidAttr) or self._report.is_wrong(one.path):
                continue
            if one.sidecar.state is not FileState.DELETED:
                self._report.note(Finding.MISSING_BLOB, one.sidecar.file_id)
        self._advance(0)

    async def _look_at_orphan_blobs(self, paths: Sequence[str]) -> None:
        """A blob is placed while its upload is open or its intent stands, before its sidecar."""
        open_uploads = {one.path for one in await self._catalog.uploads.list_open()}
        pending = await self._catalog.pending.pending_ids()
        free = [
            path
            for path in paths
            if path not in open_uploads and file_id_in_name(path) not in pending
        ]
        sidecars = await self._store.read_sidecars([path + SIDECAR_SUFFIX for path in free])
        alone = [path for path, content in zip(free, sidecars, strict=True) if content is None]
        sizes = await self._sizes(alone)
        for path in alone:
            if sizes[path] is not None:
                self._report.note(Finding.ORPHAN_BLOB, path)
        self._advance(0)

    async def _sizes(self, paths: Sequence[str]) -> dict[str, int | None]:
        slots = asyncio.Semaphore(STATS_IN_FLIGHT)

        async def size(path: str) -> int | None:
            async with slots:
                return await self._store.stat_blob(path)

        return dict(zip(paths, await asyncio.gather(*(size(path) for path in paths)), strict=True))

    def _advance(self, files: int) -> None:
        self._operation.advance(files)
        self._operation.findings = self._report.findings
