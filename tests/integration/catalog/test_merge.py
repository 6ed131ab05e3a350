"""What a repair writes, and what it must leave alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from mesh.errors import Aborted
from storage_server.catalog.catalog import Catalog
from storage_server.catalog.fences import Fence, Guard
from storage_server.catalog.merge import Merged, RenewedPage
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.sidecar import FileState, Sidecar
from storage_server.domain.sidecar_changes import tombstoned, updated
from tests.integration.catalog.files import (
    a_sidecar,
    an_identity,
    commit,
    found,
    merge,
    now,
    rebuild_fence,
    upload,
)
from tests.support.origins import BY_ALICE


async def sidecar_in_row(catalog: Catalog, file_id: str) -> Sidecar | None:
    row = await catalog.reads.get(file_id)
    return row and row.sidecar


async def test_missing_rows_are_made_with_gapless_sequences_and_told(catalog: Catalog) -> None:
    await upload(catalog, a_sidecar())
    missing = [a_sidecar() for _ in range(5)]
    assert await merge(catalog, *missing) == Merged(created=5)
    changes = await catalog.feed.read(1)
    assert [change.sequence for change in changes] == [2, 3, 4, 5, 6]
    assert {change.kind for change in changes} == {ChangeKind.CREATED}
    assert all(change.row and change.row.sequence == change.sequence for change in changes)
    assert {change.file_id for change in changes} == {sidecar.file_id for sidecar in missing}
    assert (await catalog.feed.head()).sequence == 6


async def test_a_rebuilt_row_equals_the_one_that_was_lost(catalog: Catalog) -> None:
    sidecar = a_sidecar(unknown='"later":{"x":1}')
    await upload(catalog, sidecar)
    before = await catalog.reads.get(sidecar.file_id)
    await catalog.database.execute(f"DELETE FROM {catalog.tables.files}")
    await merge(catalog, sidecar)
    after = await catalog.reads.get(sidecar.file_id)
    assert before is not None
    assert after is not None
    assert after == replace(before, sequence=2, cache_updated_at=after.cache_updated_at)


async def test_a_row_that_says_the_same_is_renewed_in_silence(catalog: Catalog) -> None:
    sidecar = a_sidecar()
    await upload(catalog, sidecar)
    before = await catalog.reads.get(sidecar.file_id)
    touched = found(sidecar, 2, hours=168)
    merged = await catalog.merge.merge([touched], s0=1, fence=await rebuild_fence(catalog))
    assert merged == Merged(renewed=1)
    row = await catalog.reads.get(sidecar.file_id)
    assert before is not None and row is not None
    assert row.cache_updated_at > before.cache_updated_at
    assert (row.identity, row.cache_ttl_hours, row.sequence) == (an_identity(2), 168, 1)
    assert (await catalog.feed.head()).sequence == 1


async def test_a_changed_sidecar_wins_even_with_a_lower_revision(catalog: Catalog) -> None:
    first = a_sidecar()
    await upload(catalog, first)
    await commit(catalog, updated(first, {"version": "2"}, now()), ChangeKind.UPDATED)
    assert await merge(catalog, first) == Merged(updated=1)
    assert await sidecar_in_row(catalog, first.file_id) == first
    assert (await catalog.feed.read(2))[0].kind is ChangeKind.UPDATED


async def test_a_direct_write_after_s0_stands(catalog: Catalog) -> None:
    first = a_sidecar()
    await upload(catalog, first)
    s0 = (await catalog.feed.head()).sequence
    second = updated(first, {"version": "2"}, now())
    await commit(catalog, second, ChangeKind.UPDATED)
    assert await merge(catalog, first, s0=s0) == Merged(newer=(first.file_id,))
    assert (
        await catalog.merge.drop([first.file_id], s0=s0, fence=await rebuild_fence(catalog)) == []
    )
    assert await sidecar_in_row(catalog, first.file_id) == second
    assert (await catalog.feed.head()).sequence == 2


async def test_a_delete_after_s0_stays_deleted(catalog: Catalog) -> None:
    sidecar = a_sidecar()
    await upload(catalog, sidecar)
    s0 = (await catalog.feed.head()).sequence
    await commit(catalog, tombstoned(sidecar, now()), ChangeKind.DELETED)
    await merge(catalog, sidecar, s0=s0)
    row = await catalog.reads.get(sidecar.file_id)
    assert row is not None
    assert row.sidecar.state is FileState.DELETED


async def test_an_upload_between_sidecar_and_row_is_left_to_itself(catalog: Catalog) -> None:
    sidecar = a_sidecar()
    await catalog.pending.begin_write(
        sidecar.file_id, "path", ChangeKind.CREATED, by=BY_ALICE, revision=1
    )
    assert await merge(catalog, sidecar) == Merged(newer=(sidecar.file_id,))
    await commit(catalog, sidecar, ChangeKind.CREATED)
    head = await catalog.feed.head()
    assert (head.sequence, head.used_bytes, head.file_count) == (1, 100, 1)


async def test_a_dropped_row_is_told_and_its_sequence_has_no_gap(catalog: Catalog) -> None:
    files = [a_sidecar() for _ in range(3)]
    for sidecar in files:
        await upload(catalog, sidecar)
    ids = [sidecar.file_id for sidecar in files]
    dropped = await catalog.merge.drop([*ids, "unknown"], s0=3, fence=await rebuild_fence(catalog))
    assert sorted(dropped) == sorted(ids)
    changes = await catalog.feed.read(3)
    assert [change.sequence for change in changes] == [4, 5, 6]
    assert all(change.kind is ChangeKind.DROPPED and change.row is None for change in changes)


async def test_a_tombstone_that_a_repair_finds_is_told_as_deleted(catalog: Catalog) -> None:
    tombstone = tombstoned(a_sidecar(), now())
    await merge(catalog, tombstone)
    assert (await catalog.feed.read(0))[0].kind is ChangeKind.DELETED


async def test_a_damaged_row_is_written_anew(catalog: Catalog) -> None:
    sidecar = a_sidecar()
    await upload(catalog, sidecar)
    await catalog.database.execute(f"UPDATE {catalog.tables.files} SET description = 'damaged'")
    assert await merge(catalog, sidecar) == Merged(updated=1)
    assert await sidecar_in_row(catalog, sidecar.file_id) == sidecar


async def test_a_row_written_by_hand_is_written_anew(catalog: Catalog) -> None:
    sidecar = a_sidecar()
    await catalog.database.execute(
        f"INSERT INTO {catalog.tables.files}"
        " (file_id, original_filename, storage_filename, storage_path, size_bytes)"
        " VALUES ($1, 'a', 'b', 'c', 1)",
        sidecar.file_id,
    )
    assert await merge(catalog, sidecar) == Merged(updated=1)
    assert await sidecar_in_row(catalog, sidecar.file_id) == sidecar


async def test_writes_and_merges_side_by_side_leave_no_gap_and_lose_nothing(
    catalog: Catalog,
) -> None:
    found = [a_sidecar() for _ in range(60)]
    uploads = [a_sidecar() for _ in range(60)]
    fence = await rebuild_fence(catalog)

    async def repair() -> None:
        for start in range(0, 60, 10):
            await merge(catalog, *found[start : start + 10], s0=0, fence=fence)

    async def write(sidecars: list[Sidecar]) -> None:
        for sidecar in sidecars:
            await upload(catalog, sidecar)

    await asyncio.gather(repair(), *(write(uploads[n::4]) for n in range(4)))
    changes = await catalog.feed.read(0)
    assert [change.sequence for change in changes] == list(range(1, 121))
    for sidecar in (*found, *uploads):
        assert await sidecar_in_row(catalog, sidecar.file_id) == sidecar


async def test_a_merge_that_waits_for_a_write_sees_it(catalog: Catalog) -> None:
    """Otherwise the feed would end with the older content."""
    first = a_sidecar()
    await upload(catalog, first)
    fence = await rebuild_fence(catalog)
    async with catalog.database.transaction() as writer:
        await writer.execute(f"SELECT seq FROM {catalog.tables.feed_head} FOR UPDATE")
        merging = asyncio.create_task(merge(catalog, first, s0=1, fence=fence))
        await wait_for_a_waiter(catalog)
        # What a direct write does, in a transaction that is held open.
        await writer.execute(f"UPDATE {catalog.tables.feed_head} SET seq = 2")
        await writer.execute(f"UPDATE {catalog.tables.files} SET sequence = 2, description = 'new'")
    assert await merging == Merged(newer=(first.file_id,))
    row = await catalog.reads.get(first.file_id)
    assert row is not None
    assert row.sidecar.description == "new"


async def wait_for_a_waiter(catalog: Catalog) -> None:
    async with asyncio.timeout(5):
        waiters = 0
        while waiters == 0:
            waiters = await catalog.database.fetchval(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )


async def test_an_overtaken_repair_writes_nothing(catalog: Catalog) -> None:
    paused = await rebuild_fence(catalog)
    await rebuild_fence(catalog)
    sidecar = a_sidecar()
    await upload(catalog, sidecar)
    with pytest.raises(Aborted) as refused:
        await merge(catalog, a_sidecar(), fence=paused)
    assert refused.value.reason == "PREEMPTED"
    with pytest.raises(Aborted):
        await catalog.merge.drop([sidecar.file_id], s0=1, fence=paused)
    with pytest.raises(Aborted):
        await catalog.merge.renew_page("", [], s0=1, fence=paused, now=now(), cache_ttl_hours=24)
    assert (await catalog.feed.head()).sequence == 1


async def test_renewing_touches_only_rows_up_to_s0_and_no_exceptions(catalog: Catalog) -> None:
    first, excepted, second = a_sidecar(), a_sidecar(), a_sidecar()
    await upload(catalog, first)
    await upload(catalog, excepted)
    s0 = (await catalog.feed.head()).sequence
    await upload(catalog, second)
    later, fence = now() + timedelta(hours=1), await rebuild_fence(catalog)

    async def renew(after: str) -> RenewedPage:
        return await catalog.merge.renew_page(
            after, [excepted.file_id], s0=s0, fence=fence, now=later, cache_ttl_hours=24
        )

    page = await renew("")
    last = max(sidecar.file_id for sidecar in (first, excepted, second))
    assert page == RenewedPage(1, last)
    assert await renew(last) == RenewedPage(0, None)
    row = await catalog.reads.get(first.file_id)
    assert row is not None
    assert row.cache_updated_at == later


async def test_cleanup_removes_expired_rows_only_and_remembers_it(catalog: Catalog) -> None:
    expired, fresh, writing, deleted = (a_sidecar() for _ in range(4))
    for sidecar in (expired, fresh, writing, deleted):
        await upload(catalog, sidecar)
    await commit(catalog, tombstoned(deleted, now()), ChangeKind.DELETED)
    await catalog.counters.recount(fence=await rebuild_fence(catalog))
    assert not await catalog.feed.rows_lost()
    await catalog.pending.begin_write(
        writing.file_id, "path", ChangeKind.UPDATED, by=BY_ALICE, revision=1
    )
    await catalog.database.execute(
        f"UPDATE {catalog.tables.files} SET cache_updated_at = now() - interval '100 hours'"
        " WHERE file_id <> $1",
        fresh.file_id,
    )
    fence = Fence(Guard.CLEANUP, await catalog.fences.draw())
    await catalog.fences.raise_cleanup(fence.number)
    head = await catalog.feed.head()
    rows = await catalog.summaries.expired_rows("", now=now(), limit=10)
    assert [row.file_id for row in rows] == [expired.file_id]
    every = (expired, fresh, writing, deleted)
    seen = await catalog.summaries.rows_by_id([sidecar.file_id for sidecar in every])
    deletions = list(seen.values())
    assert await catalog.merge.delete_expired(deletions, fence=fence, now=now()) == 1
    assert await catalog.merge.delete_expired(deletions, fence=fence, now=now()) == 0
    assert not await catalog.summaries.expired_rows("", now=now(), limit=10)
    assert await catalog.reads.get(expired.file_id) is None
    for kept in (fresh, writing, deleted):
        assert await catalog.reads.get(kept.file_id) is not None
    assert await catalog.feed.rows_lost()
    assert await catalog.feed.head() == replace(head, complete=False)


async def test_a_recount_takes_bytes_of_blobs_and_files_that_are_no_tombstones(
    catalog: Catalog,
) -> None:
    kept, deleted, gone = (a_sidecar() for _ in range(3))
    tombstones = [tombstoned(sidecar, now()) for sidecar in (deleted, gone)]
    await merge(catalog, kept, *tombstones)
    await catalog.database.execute(
        f"UPDATE {catalog.tables.files} SET blob_present = false WHERE file_id = $1", gone.file_id
    )
    assert (await catalog.feed.head()).used_bytes == 0
    await catalog.counters.recount(fence=await rebuild_fence(catalog))
    head = await catalog.feed.head()
    assert (head.used_bytes, head.file_count, head.complete) == (200, 1, True)


async def test_a_recount_and_an_upload_that_ends_later_count_it_once(catalog: Catalog) -> None:
    repeated, fresh = a_sidecar(), a_sidecar()
    await merge(catalog, repeated)
    for sidecar in (repeated, fresh):
        await catalog.pending.begin_write(
            sidecar.file_id, "path", ChangeKind.CREATED, by=BY_ALICE, revision=1
        )
    await catalog.counters.recount(fence=await rebuild_fence(catalog))
    for sidecar in (repeated, fresh):
        await commit(catalog, sidecar, ChangeKind.CREATED)
    head = await catalog.feed.head()
    assert (head.used_bytes, head.file_count) == (200, 2)
