"""Looking again at what the walk of a check met: what is wrong goes into the report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from mesh.operations import Operation
from storage_server.cache.report import Finding, Report
from storage_server.cache.suspicions import Suspicions
from storage_server.catalog.catalog import Catalog
from storage_server.catalog.summaries import RowSummary
from storage_server.domain.life import HAVE_BYTES
from storage_server.domain.naming import blob_beside, file_id_in_name
from storage_server.sidecars.reading import (
    NOT_A_FILE,
    InvalidAttr,
    Look,
    ReadSidecar,
    look_at,
    printable,
    read_files,
    taken,
)
from storage_server.store.port import SIDECAR_SUFFIX, Store

BATCH = 500
STATS_IN_FLIGHT = 32


class Judging:
    """Judges the suspicions of one check.

    Args:
        report: what is wrong is added to it.
    """

    def __init__(
        self, store: Callable[[], Store], catalog: Catalog, operation: Operation, report: Report
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._operation = operation
        self._report = report
        self._suspicions = Suspicions()
        self._met: set[str] = set()
        self._without_row: dict[str, list[ReadSidecar]] = {}

    async def look_again(self, met: Suspicions) -> None:
        """Look at everything that the walk met.

        Raises:
            Unavailable: the store or PostgreSQL does not answer.
        """
        self._suspicions = met
        for path in met.unreadable:
            self._note_invalid(InvalidAttr(path, NOT_A_FILE))
        for start in range(0, len(met.paths), BATCH):
            await self._look_at_sidecars(met.paths[start : start + BATCH])
        self._judge_without_row()
        for start in range(0, len(met.rows), BATCH):
            await self._look_at_rows(met.rows[start : start + BATCH])
        doubtful = list(met.doubtful_blobs)
        for start in range(0, len(doubtful), BATCH):
            await self._look_at_doubtful_blobs(doubtful[start : start + BATCH])
        for start in range(0, len(met.orphan_blobs), BATCH):
            await self._look_at_orphan_blobs(met.orphan_blobs[start : start + BATCH])
        self._note_renamed()

    # --- sidecars that seemed new or changed ---------------------------------------------

    async def _look_at_sidecars(self, paths: Sequence[str]) -> None:
        read = await read_files(self._store(), paths)
        pending = await self._catalog.pending.pending_ids()
        valid = [one for one in read if isinstance(one, ReadSidecar)]
        rows = await self._catalog.summaries.rows_by_id([one.sidecar.file_id for one in valid])
        elsewhere = {
            one.sidecar.file_id: row
            for one in valid
            if (row := rows.get(one.sidecar.file_id)) is not None and row.path != one.path
        }
        looks = await look_at(self._store(), list(elsewhere.values()))
        for invalid in read:
            if isinstance(invalid, InvalidAttr):
                self._note_invalid(invalid)
        for one in valid:
            file_id = one.sidecar.file_id
            self._judge(one, rows.get(file_id), file_id in pending, looks.get(file_id))
        self._advance(len(read))

    def _note_invalid(self, one: InvalidAttr) -> None:
        # A row that names it is kept and is the same file; without one it counts by its path.
        self._report.total_attr_files += 1
        subject = self._suspicions.claimed.get(one.path)
        if subject is None:
            self._report.union_size += 1
        self._report.note(Finding.INVALID_ATTR, subject or one.path, str(one))

    def _judge(
        self, one: ReadSidecar, row: RowSummary | None, pending: bool, look: Look | None
    ) -> None:
        """Judge a valid sidecar by the row of its id; `look` is at that row's, if not this."""
        report, file_id = self._report, one.sidecar.file_id
        dead = one.sidecar.state not in HAVE_BYTES
        row_is_live = row is not None and row.state in HAVE_BYTES
        if dead and not row_is_live:
            return
        loses = look is not None and not look.found.disproves_row and look.path != one.path
        if dead and loses:
            return
        report.total_attr_files += not dead
        # A row that came back since the walk is not among those that it has counted.
        report.union_size += loses or file_id not in self._suspicions.counted
        if loses and look is not None:
            report.note(Finding.INVALID_ATTR, one.path, str(taken(one.path, look.path)))
        elif pending:
            return
        elif row is None:
            self._without_row.setdefault(file_id, []).append(one)
        elif row.sequence <= report.sequence and (
            row.path != one.recorded_path or not row.intact or row.digest != one.digest
        ):
            report.note(Finding.STALE, file_id)
        self._met.add(file_id)
        if not dead and not loses and row is not None:
            self._judge_place(one)

    def _judge_place(self, one: ReadSidecar) -> None:
        """Note another form of the name, and a blob that was listed with another size."""
        met, form = self._suspicions, self._suspicions.forms.get(one.blob_path, "")
        if one.is_renamed:
            met.renamed.setdefault(one.sidecar.file_id, (one.path, one.recorded_path))
        elif form:
            met.renamed.setdefault(one.sidecar.file_id, (form, one.blob_path))
        if met.listed_sizes.get(one.path, one.sidecar.size_bytes) != one.sidecar.size_bytes:
            met.doubtful_blobs.setdefault(one.path, form)

    def _judge_without_row(self) -> None:
        """Of several sidecars with one id the one at home would win; the others are invalid."""
        for file_id, found in self._without_row.items():
            winner, *losers = sorted(
                found, key=lambda one: (not one.at_home, one.is_renamed, one.path)
            )
            self._report.note(Finding.ORPHAN_ATTR, file_id, printable(winner.path))
            for one in losers:
                lost = taken(one.path, winner.path)
                self._report.note(Finding.INVALID_ATTR, one.path, str(lost))
            self._judge_place(winner)

    def _note_renamed(self) -> None:
        for file_id, (path, recorded_path) in self._suspicions.renamed.items():
            self._report.note(
                Finding.RENAMED,
                file_id,
                f"{printable(path)}: same file under another form of its name, "
                f"recorded as {recorded_path}",
            )

    # --- rows whose sidecar seemed missing, or another file's ----------------------------

    async def _look_at_rows(self, suspects: Sequence[RowSummary]) -> None:
        looks = await look_at(self._store(), suspects)
        pending = await self._catalog.pending.pending_ids()
        rows = await self._catalog.summaries.rows_by_id([row.file_id for row in suspects])
        for before in suspects:
            file_id, row = before.file_id, rows.get(before.file_id)
            if row is None or row.sequence != before.sequence or file_id in pending:
                continue
            live = row.state in HAVE_BYTES
            # A file whose sidecar lies elsewhere was judged by that: its row is stale.
            absent = looks[file_id].found.disproves_row
            if live and absent and file_id not in self._met:
                self._report.note(Finding.ORPHAN_CACHE, file_id)
        self._advance(len(suspects))

    # --- blobs ---------------------------------------------------------------------------

    async def _look_at_doubtful_blobs(self, paths: Sequence[str]) -> None:
        """Those of the sidecars at `paths`."""
        places = {
            path: self._suspicions.doubtful_blobs[path] or blob_beside(path) for path in paths
        }
        sizes = await self._sizes(list(places.values()))
        for one in await read_files(self._store(), paths):
            if isinstance(one, InvalidAttr) or self._report.is_wrong(one.path):
                continue
            sidecar, size = one.sidecar, sizes[places[one.path]]
            if sidecar.state not in HAVE_BYTES or size == sidecar.size_bytes:
                continue
            file_id = sidecar.file_id
            detail = file_id
            if size is not None:
                detail += f": its blob has {size} bytes, its sidecar says {sidecar.size_bytes}"
            self._report.note(Finding.MISSING_BLOB, file_id, detail)
        self._advance(0)

    async def _look_at_orphan_blobs(self, paths: Sequence[str]) -> None:
        """A blob is placed while its upload or pull is open or its intent stands, before its
        sidecar.
        """
        awaited = {one.path for one in await self._catalog.uploads.list_open()}
        awaited |= {one.path for one in await self._catalog.pulls.list_open()}
        pending = await self._catalog.pending.pending_ids()
        free = [
            path for path in paths if path not in awaited and file_id_in_name(path) not in pending
        ]
        sidecars = await self._store().read_sidecars([path + SIDECAR_SUFFIX for path in free])
        alone = [path for path, content in zip(free, sidecars, strict=True) if content is None]
        sizes = await self._sizes(alone)
        for path in alone:
            if sizes[path] is not None:
                self._report.note(Finding.ORPHAN_BLOB, printable(path))
        self._advance(0)

    async def _sizes(self, paths: Sequence[str]) -> dict[str, int | None]:
        slots = asyncio.Semaphore(STATS_IN_FLIGHT)

        async def size(path: str) -> int | None:
            async with slots:
                return await self._store().stat_blob(path)

        return dict(zip(paths, await asyncio.gather(*(size(path) for path in paths)), strict=True))

    def _advance(self, files: int) -> None:
        self._operation.advance(files)
        self._operation.findings = self._report.findings
