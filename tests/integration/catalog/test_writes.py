"""Row, feed entry and counters go together."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mesh.errors import Aborted
from storage_server.catalog.catalog import Catalog
from storage_server.catalog.pending import NOTHING_COUNTED, Counted
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.origin import OF_REPAIR
from storage_server.domain.sidecar import FileState, Sidecar, digest
from storage_server.domain.sidecar_changes import tombstoned, undeleted, updated
from tests.integration.catalog.back_door import age, clean, damage, on_both
from tests.integration.catalog.files import (
    AnyCatalog,
    a_sidecar,
    an_identity,
    commit,
    lazy,
    merge,
    now,
    renew,
    upload,
)
from tests.support.origins import BY_ALICE


@on_both
async def test_a_committed_upload_is_a_row_a_feed_entry_and_no_intent(catalog: AnyCatalog) -> None:
    sidecar = a_sidecar()
    committed = await upload(catalog, sidecar)
    row = await catalog.reads.get(sidecar.file_id)
    assert row is not None
    assert row.sidecar == sidecar
    assert row.identity == an_identity()
    assert row.sequence == committed.sequence == 1
    assert not row.pending
    (change,) = await catalog.feed.read(0)
    assert (change.sequence, change.change_id) == (1, committed.change_id)
    assert change.kind is ChangeKind.CREATED
    assert change.row == row
    assert await catalog.pending.list_pending() == []
    head = await catalog.feed.head()
    assert (head.epoch, head.sequence) == (committed.epoch, 1)
    assert (head.used_bytes, head.file_count) == (100, 1)


@on_both
async def test_eight_writers_leave_no_gap_in_the_sequence(catalog: AnyCatalog) -> None:
    async def write_twenty() -> list[int]:
        return [(await upload(catalog, a_sidecar())).sequence for _ in range(20)]

    drawn = await asyncio.gather(*(write_twenty() for _ in range(8)))
    assert sorted(number for numbers in drawn for number in numbers) == list(range(1, 161))
    changes = await catalog.feed.read(0)
    assert [change.sequence for change in changes] == list(range(1, 161))
    assert all(change.row and change.row.sequence == change.sequence for change in changes)
    head = await catalog.feed.head()
    assert (head.used_bytes, head.file_count) == (16_000, 160)


@on_both
async def test_a_sequence_is_visible_only_after_all_lower_ones(catalog: AnyCatalog) -> None:
    done = asyncio.Event()

    async def follow() -> None:
        after = 0
        while not done.is_set():
            for change in await catalog.feed.read(after):
                assert change.sequence == after + 1
                after = change.sequence

    follower = asyncio.create_task(follow())
    await asyncio.gather(*(upload(catalog, a_sidecar()) for _ in range(80)))
    done.set()
    await follower


@on_both
async def test_committing_twice_counts_once(catalog: AnyCatalog) -> None:
    sidecar = a_sidecar()
    await upload(catalog, sidecar)
    again = await upload(catalog, sidecar)
    assert again.sequence == 2
    head = await catalog.feed.head()
    assert (head.used_bytes, head.file_count) == (100, 1)


async def test_a_tombstone_keeps_its_bytes_until_its_blob_is_removed(catalog: Catalog) -> None:
    sidecar = a_sidecar()
    await upload(catalog, sidecar)
    tombstone = tombstoned(sidecar, now())
    await commit(catalog, tombstone, ChangeKind.DELETED)
    head = await catalog.feed.head()
    assert (head.used_bytes, head.file_count) == (100, 0)
    (trash,) = await catalog.writes.list_trash(now())
    assert trash.sidecar == tombstone
    assert await catalog.writes.blob_removed(sidecar.file_id)
    assert not await catalog.writes.blob_removed(sidecar.file_id)
    assert (await catalog.feed.head()).used_bytes == 0
    assert await catalog.writes.list_trash(now()) == []


@on_both
async def test_what_is_purged_on_purpose_is_told_once_as_its_intent_says(
    catalog: AnyCatalog,
) -> None:
    sidecar = a_sidecar()
    await upload(catalog, sidecar)
    tombstone = tombstoned(sidecar, now())
    await commit(catalog, tombstone, ChangeKind.DELETED)
    assert await catalog.writes.purge(sidecar.file_id) is None
    await _intend_to_purge(catalog, tombstone)
    purged = await catalog.writes.purge(sidecar.file_id)
    assert purged is not None
    assert await catalog.writes.purge(sidecar.file_id) is None
    assert await catalog.reads.get(sidecar.file_id) is None
    assert await catalog.pending.list_pending() == []
    change = (await catalog.feed.read(0))[-1]
    assert (change.sequence, change.change_id) == (purged.sequence, purged.change_id) and (
        change.sequence == 3
    )
    assert (change.kind, change.row, change.revision) == (ChangeKind.PURGED, None, 2)
    assert change.origin == BY_ALICE
    head = await catalog.feed.head()
    assert (head.sequence, head.used_bytes, head.file_count) == (3, 0, 0)


@on_both
async def test_an_intent_to_purge_tells_of_no_other_write(catalog: AnyCatalog) -> None:
    sidecar = a_sidecar()
    await upload(catalog, sidecar)
    await _intend_to_purge(catalog, sidecar)
    await commit(catalog, sidecar, ChangeKind.UPDATED)
    assert (await catalog.feed.read(0))[-1].origin == OF_REPAIR


async def test_a_repair_puts_back_nothing_that_was_purged_since_it_was_read(
    catalog: Catalog,
) -> None:
    sidecar = a_sidecar()
    await upload(catalog, sidecar)
    s0 = (await catalog.feed.head()).sequence
    await _intend_to_purge(catalog, sidecar)
    await catalog.writes.purge(sidecar.file_id)
    merged = await merge(catalog, sidecar, s0=s0)
    assert merged.newer == (sidecar.file_id,)
    assert await catalog.reads.get(sidecar.file_id) is None
    assert (await merge(catalog, sidecar)).created == 1


async def _intend_to_purge(
    catalog: AnyCatalog, sidecar: Sidecar, counted: Counted = NOTHING_COUNTED
) -> None:
    await catalog.pending.begin_write(
        sidecar.file_id,
        "path",
        ChangeKind.PURGED,
        by=BY_ALICE,
        revision=sidecar.revision,
        digest=digest(sidecar),
        counted=counted,
    )


@on_both
async def test_the_bytes_of_a_tombstone_are_given_back_once(catalog: AnyCatalog) -> None:
    sidecar = a_sidecar()
    await upload(catalog, sidecar)
    assert not await catalog.writes.blob_removed(sidecar.file_id)
    await commit(catalog, tombstoned(sidecar, now()), ChangeKind.DELETED)
    assert await catalog.writes.blob_removed(sidecar.file_id)
    assert not await catalog.writes.blob_removed(sidecar.file_id)
    assert not await catalog.writes.blob_removed("nobody")
    head = await catalog.feed.head()
    assert (head.sequence, head.used_bytes, head.file_count) == (2, 0, 0)
    row = await catalog.reads.get(sidecar.file_id)
    assert row is not None
    assert not row.blob_present


@on_both
async def test_an_undeleted_file_counts_again(catalog: AnyCatalog) -> None:
    sidecar = a_sidecar()
    await upload(catalog, sidecar)
    tombstone = tombstoned(sidecar, now())
    await commit(catalog, tombstone, ChangeKind.DELETED)
    await commit(catalog, undeleted(tombstone, now()), ChangeKind.UNDELETED)
    head = await catalog.feed.head()
    assert (head.used_bytes, head.file_count) == (100, 1)


@on_both
async def test_a_file_whose_row_was_cleaned_is_not_counted_again(catalog: AnyCatalog) -> None:
    sidecar = a_sidecar()
    await upload(catalog, sidecar)
    await clean(catalog)
    await commit(catalog, updated(sidecar, {"version": "2"}, now()), ChangeKind.UPDATED)
    head = await catalog.feed.head()
    assert (head.used_bytes, head.file_count) == (100, 1)


@on_both
async def test_an_upload_replayed_after_a_crash_is_counted(catalog: AnyCatalog) -> None:
    sidecar = a_sidecar()
    await catalog.pending.begin_write(
        sidecar.file_id, "path", ChangeKind.CREATED, by=BY_ALICE, revision=1
    )
    changed = updated(sidecar, {"version": "2"}, now())
    await catalog.pending.begin_write(
        sidecar.file_id, "path", ChangeKind.UPDATED, by=BY_ALICE, revision=1
    )
    await commit(catalog, changed, ChangeKind.UPDATED)
    head = await catalog.feed.head()
    assert (head.used_bytes, head.file_count) == (100, 1)
    assert await catalog.pending.pending_ids() == frozenset()


async def test_an_intent_is_found_however_many_there_are(catalog: Catalog) -> None:
    await catalog.database.execute(
        f"INSERT INTO {catalog.tables.pending} (file_id, path, kind, request_id)"
        " SELECT 'other-' || n, 'path', 'created', '' FROM generate_series(1, 1500) n"
    )
    sidecar = a_sidecar()
    await catalog.pending.begin_write(
        sidecar.file_id, "path", ChangeKind.CREATED, "r-1", by=BY_ALICE, revision=1
    )
    assert len(await catalog.pending.list_pending()) == 1501
    (of_file,) = await catalog.pending.of_file(sidecar.file_id)
    assert await catalog.pending.of_request("r-1") == [of_file]
    assert await catalog.pending.of_request("") == []


@on_both
async def test_intents_are_found_by_file_and_by_request(catalog: AnyCatalog) -> None:
    for file_id, request_id in (("f-1", "r-1"), ("f-2", "r-1"), ("f-2", "")):
        await catalog.pending.begin_write(
            file_id, "path", ChangeKind.CREATED, request_id, by=BY_ALICE, revision=1
        )
    first, second, third = await catalog.pending.list_pending()
    assert (second.file_id, second.path, second.kind) == ("f-2", "path", ChangeKind.CREATED)
    assert await catalog.pending.of_request("r-1") == [first, second]
    assert await catalog.pending.of_request("") == []
    assert await catalog.pending.of_file("f-2") == [second, third]
    await catalog.pending.end_pending(second.pending_id)
    await catalog.pending.end_pending(second.pending_id)
    assert await catalog.pending.of_file("f-2") == [third]
    assert await catalog.pending.pending_ids() == frozenset({"f-1", "f-2"})


@on_both
async def test_an_old_row_reads_as_expired_until_it_is_renewed(catalog: AnyCatalog) -> None:
    sidecar = a_sidecar()
    committed = await upload(catalog, sidecar)
    await age(catalog, sidecar.file_id, hours=100)
    row = await catalog.reads.get(sidecar.file_id)
    assert row is not None
    assert row.cache_expired(now())
    assert await renew(catalog, sidecar, await lazy(catalog, committed.sequence))
    row = await catalog.reads.get(sidecar.file_id)
    assert row is not None
    assert not row.cache_expired(now())


@on_both
async def test_renewing_takes_no_sequence(catalog: AnyCatalog) -> None:
    sidecar = a_sidecar()
    committed = await upload(catalog, sidecar)
    before = now()
    guarded = await lazy(catalog, committed.sequence)
    assert await renew(catalog, sidecar, guarded, 2, hours=168)
    row = await catalog.reads.get(sidecar.file_id)
    assert row is not None
    assert row.cache_updated_at >= before
    assert row.cache_ttl_hours == 168
    assert row.identity == an_identity(2)
    assert (await catalog.feed.head()).sequence == 1


@on_both
async def test_a_row_that_changed_meanwhile_is_not_renewed(catalog: AnyCatalog) -> None:
    sidecar = a_sidecar()
    committed = await upload(catalog, sidecar)
    guarded = await lazy(catalog, committed.sequence)
    changed = updated(sidecar, {"version": "2"}, now())
    await commit(catalog, changed, ChangeKind.UPDATED)
    assert not await renew(catalog, sidecar, guarded)
    assert not await renew(catalog, changed, guarded)


@on_both
async def test_a_damaged_row_is_not_renewed(catalog: AnyCatalog) -> None:
    sidecar = a_sidecar()
    committed = await upload(catalog, sidecar)
    await damage(catalog)
    assert not await renew(catalog, sidecar, await lazy(catalog, committed.sequence))


@on_both
async def test_a_refresh_writes_only_what_nobody_wrote_since_it_looked(catalog: AnyCatalog) -> None:
    sidecar = a_sidecar()
    saw_none = await lazy(catalog, None)
    committed = await upload(catalog, sidecar)
    saw_row = await lazy(catalog, committed.sequence)
    await commit(catalog, updated(sidecar, {"version": "2"}, now()), ChangeKind.UPDATED)
    for guarded in (saw_none, saw_row):
        with pytest.raises(Aborted):
            await commit(catalog, sidecar, ChangeKind.UPDATED, guarded=guarded)
    row = await catalog.reads.get(sidecar.file_id)
    assert row is not None
    assert row.sidecar.version == "2"
    saw_it = await lazy(catalog, row.sequence)
    assert (await commit(catalog, sidecar, ChangeKind.UPDATED, guarded=saw_it)).sequence == 3


@on_both
async def test_a_rebuild_shuts_out_the_refreshes_before_it_and_no_direct_write(
    catalog: AnyCatalog,
) -> None:
    sidecar = a_sidecar()
    committed = await upload(catalog, sidecar)
    early = await lazy(catalog, committed.sequence)
    await catalog.fences.raise_rebuild(await catalog.fences.draw())
    with pytest.raises(Aborted):
        await renew(catalog, sidecar, early)
    with pytest.raises(Aborted):
        await commit(catalog, sidecar, ChangeKind.UPDATED, guarded=early)
    assert await renew(catalog, sidecar, await lazy(catalog, committed.sequence))
    await commit(catalog, sidecar, ChangeKind.UPDATED)


@on_both
async def test_a_refresh_ends_the_intent_of_an_upload_only(catalog: AnyCatalog) -> None:
    sidecar = a_sidecar()
    for kind in (ChangeKind.CREATED, ChangeKind.UPDATED):
        await catalog.pending.begin_write(sidecar.file_id, "path", kind, by=BY_ALICE, revision=1)
    await commit(catalog, sidecar, ChangeKind.CREATED, guarded=await lazy(catalog, None))
    (left,) = await catalog.pending.list_pending()
    assert left.kind is ChangeKind.UPDATED
    assert (await catalog.feed.head()).file_count == 1


async def test_a_change_of_mode_sets_the_ttl_of_all_rows(catalog: Catalog) -> None:
    for _ in range(3):
        await upload(catalog, a_sidecar())
    await catalog.writes.set_cache_ttl(168)
    page = await catalog.reads.list_files()
    assert [row.cache_ttl_hours for row in page.rows] == [168] * 3


@on_both
async def test_a_write_of_a_file_whose_row_was_lost_counts_by_what_its_intent_says(
    catalog: AnyCatalog,
) -> None:
    sidecar = a_sidecar()
    await upload(catalog, sidecar)
    for changed, counted, expected in (
        (replace(sidecar, state=FileState.MOVED, moved_to="se-02"), Counted(1, 100), (100, 0)),
        (replace(sidecar, state=FileState.GONE, moved_to="se-02"), Counted(0, 100), (0, 0)),
        (sidecar, Counted(), (100, 1)),
    ):
        await clean(catalog)
        # The newer one is of a repeat: nothing has been counted between the two.
        for told in (counted, Counted(1, 50)):
            await catalog.pending.begin_write(
                sidecar.file_id,
                "path",
                ChangeKind.UPDATED,
                by=BY_ALICE,
                revision=changed.revision,
                digest=digest(changed),
                counted=told,
            )
        await commit(catalog, changed, ChangeKind.UPDATED)
        head = await catalog.feed.head()
        assert (head.used_bytes, head.file_count) == expected
        # Its row says it now, whatever an intent does.
        await commit(catalog, changed, ChangeKind.UPDATED)
        assert (await catalog.feed.head()).used_bytes == expected[0]


@on_both
async def test_a_purge_of_a_file_whose_row_was_lost_counts_by_what_its_intent_says(
    catalog: AnyCatalog,
) -> None:
    sidecar = a_sidecar()
    await upload(catalog, sidecar)
    await commit(catalog, tombstoned(sidecar, now()), ChangeKind.DELETED)
    await clean(catalog)
    await _intend_to_purge(catalog, sidecar, counted=Counted(0, 100))
    await catalog.writes.purge(sidecar.file_id)
    head = await catalog.feed.head()
    assert (head.used_bytes, head.file_count) == (0, 0)
