"""Full and incremental rebuild: rows made equal to sidecars while the service runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Protocol

from mesh.operations import Operation
from storage_server.cache.comparison import Differences, blobs_of
from storage_server.cache.dropping import DEFAULT_MAX_DELETE_RATIO, drop_proved
from storage_server.cache.forgetting import Forgetting
from storage_server.cache.merging import Merging
from storage_server.cache.restoring import NameRestoring
from storage_server.cache.result import RebuildResult
from storage_server.cache.run import RebuildRun
from storage_server.cache.survey import EqualFolder, Verified, survey
from storage_server.catalog.catalog import Catalog
from storage_server.catalog.fences import Fence
from storage_server.sidecars.reading import NOT_A_FILE, InvalidAttr
from storage_server.store.port import Store

RENEW_EXCEPTIONS = 2000


class Proof(Protocol):
    """Proves that the store is this element's, not an unmounted folder."""

    async def prove(self) -> object:
        """Read `element.json`; Unavailable when it is missing or foreign."""


class Rebuild:
    """Rebuilds the rows of one element.

    Args:
        store: of the element, as it is open at each call; raises Unavailable otherwise.
        catalog: of the element.
        proof: that the store is the element's.
        cache_ttl_hours: of rows in the present mode.
        names: restores them.
        forgetting: removes what is left of erased files.
    """

    def __init__(
        self,
        *,
        store: Callable[[], Store],
        catalog: Catalog,
        proof: Proof,
        cache_ttl_hours: Callable[[], int],
        names: NameRestoring,
        forgetting: Forgetting,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._proof = proof
        self._cache_ttl_hours = cache_ttl_hours
        self._names = names
        self._forgetting = forgetting

    async def run(
        self,
        operation: Operation,
        fence: Fence,
        *,
        full: bool,
        max_delete_ratio: float = DEFAULT_MAX_DELETE_RATIO,
        restore_names: bool = False,
    ) -> tuple[RebuildResult, Mapping[str, Verified]]:
        """Rebuild; the result, and the folders that were found equal.

        Args:
            restore_names: whether files under another form of their names get them back.

        Raises:
            FailedPrecondition: more rows would go than `max_delete_ratio` allows (reason
                MAX_DELETE_RATIO); everything else is done.
            Unavailable: the store can't be proved or listed, or PostgreSQL does not answer.
            Aborted: somebody with a higher fence took over.
        """
        await self._proof.prove()
        head = await self._catalog.feed.head()
        now = datetime.now(UTC)
        result = RebuildResult("full" if full else "incremental", operation.operation_id, now)
        run = RebuildRun(result, operation, fence, head.sequence, now, full)
        operation.begin("listing", total=head.file_count)
        await self._walk(run)
        await self._forgetting.run(run)
        if restore_names:
            await self._names.run(run)
        if full:
            await self._renew(run)
            await drop_proved(run, self._store, self._catalog, self._proof.prove, max_delete_ratio)
        result.cache_entries_after = await self._catalog.counters.recount(
            fence=fence, expected=run.expected
        )
        result.completed_at = datetime.now(UTC)
        return result, run.verified

    async def _walk(self, run: RebuildRun) -> None:
        async with (
            Merging(run, self._store, self._catalog, self._cache_ttl_hours) as merging,
            aclosing(survey(self._store(), self._catalog.summaries)) as walk,
        ):
            async for batch in walk:
                for part in batch:
                    if isinstance(part, EqualFolder):
                        await asyncio.to_thread(_note_equal, run, part)
                    else:
                        await asyncio.to_thread(_note_different, run, part)
                        await merging.read_and_merge(part)
            await merging.merge_strays()
            await merging.merge_missed()

    async def _renew(self, run: RebuildRun) -> None:
        """Rows that were found to say what their sidecars say were verified just now."""
        run.operation.begin("merging", total=run.result.cache_entries_before)
        exceptions = sorted(run.unsettled)
        after: str | None = ""
        while after is not None:
            # A page is no longer than this, so no later exception can be in it.
            exceptions = [file_id for file_id in exceptions if file_id > after]
            page = await self._catalog.merge.renew_page(
                after,
                exceptions[:RENEW_EXCEPTIONS],
                s0=run.s0,
                fence=run.fence,
                now=run.now,
                cache_ttl_hours=self._cache_ttl_hours(),
            )
            after = page.last_id
            run.operation.advance(page.renewed)


def _note_equal(run: RebuildRun, folder: EqualFolder) -> None:
    summary, listing = folder.summary, folder.listing
    run.result.attr_files_scanned += summary.live_rows
    run.result.cache_entries_before += summary.live_rows
    run.expected[listing.path] += summary.rows
    blobs = folder.compare_blobs()
    run.renamed.update(blobs.renamed_ids)
    run.note_leftovers(blobs.orphan_ids)
    if blobs.are_complete:
        run.verified[listing.path] = Verified(listing.stamp, summary.rows, summary.newest_sequence)
    run.operation.advance(summary.rows)


def _note_different(run: RebuildRun, found: Differences) -> None:
    run.result.attr_files_scanned += found.agreeing_live + len(found.unreadable)
    run.result.cache_entries_before += found.live_rows
    for path in found.unreadable:
        run.result.note(InvalidAttr(path, NOT_A_FILE))
    rows = [row for some in found.claims.values() for row in some] + found.suspects
    run.unsettled.update(row.file_id for row in rows)
    run.suspects += found.suspects
    run.renamed.update(one.file_id for one in found.renamed)
    blobs = blobs_of(found)
    run.renamed.update(blobs.renamed_ids)
    run.note_leftovers(blobs.orphan_ids)
    run.expected.update(found.agreeing_in)
    run.operation.advance(len(found.agreeing), len(found.unreadable))
