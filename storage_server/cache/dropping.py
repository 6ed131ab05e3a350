"""Dropping rows that have no sidecar: last, after a complete listing, and proved."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from mesh.errors import FailedPrecondition
from storage_server.cache.run import RebuildRun
from storage_server.catalog.catalog import Catalog
from storage_server.catalog.summaries import RowSummary
from storage_server.domain.decisions import may_drop
from storage_server.domain.life import HAVE_BYTES
from storage_server.sidecars.reading import look_at
from storage_server.store.port import Store

BATCH = 2000
DELETE_RATIO_FROM = 100
DEFAULT_MAX_DELETE_RATIO = 0.1
SHOWN = 3


async def drop_proved(
    run: RebuildRun,
    store: Callable[[], Store],
    catalog: Catalog,
    prove: Callable[[], Awaitable[object]],
    max_delete_ratio: float,
) -> None:
    """Drop the suspects of which a direct look says that they have no sidecar.

    Args:
        prove: that the store is the element's; asked before and after the look.

    Raises:
        FailedPrecondition: they are more than 100 and more than `max_delete_ratio` of the
            rows (reason MAX_DELETE_RATIO); none was dropped.
        Unavailable: the store or PostgreSQL does not answer, or the store is not the element's.
        Aborted: somebody with a higher fence took over.
    """
    run.operation.begin("dropping", total=len(run.suspects))
    await prove()
    # Each suspect is looked at after this; a row that is written later is not one any more.
    s0 = (await catalog.feed.head()).sequence
    gone: dict[str, RowSummary] = {}
    for start in range(0, len(run.suspects), BATCH):
        gone |= await _gone(run, store, catalog, start, s0)
    ids = list(gone)
    # What is counted before leaves tombstones out, which are among those that go.
    tombstones = sum(row.state not in HAVE_BYTES for row in gone.values())
    before = run.result.cache_entries_before + tombstones
    if len(ids) > DELETE_RATIO_FROM and len(ids) > max_delete_ratio * max(before, 1):
        raise FailedPrecondition(
            f"{len(ids)} of {before} rows have no sidecar any more, which is more than "
            f"max_delete_ratio {max_delete_ratio}, so none was dropped and all else is done. "
            f"The first are {', '.join(ids[:SHOWN])}; a check counts all. If the store was "
            "restored from an older backup, put back what came since from elsewhere; if they are "
            "really gone, repeat with a higher ratio",
            reason="MAX_DELETE_RATIO",
        )
    await prove()
    for start in range(0, len(ids), BATCH):
        dropped = await catalog.merge.drop(ids[start : start + BATCH], s0=s0, fence=run.fence)
        live = [one for one in dropped if gone[one].state in HAVE_BYTES]
        run.result.entries_deleted += len(live)


async def _gone(
    run: RebuildRun, store: Callable[[], Store], catalog: Catalog, start: int, s0: int
) -> dict[str, RowSummary]:
    """Those of a batch of suspects that have no sidecar, as their rows are by now, by id."""
    suspects = run.suspects[start : start + BATCH]
    rows = await catalog.summaries.rows_by_id([row.file_id for row in suspects])
    found = await look_at(store(), list(rows.values()))
    run.operation.advance(len(suspects))
    return {
        file_id: row
        for file_id, row in rows.items()
        if may_drop(row.sequence, s0, found[file_id].found)
    }
