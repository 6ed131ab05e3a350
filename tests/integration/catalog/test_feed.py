"""The feed as followers need it."""

from __future__ import annotations

from datetime import timedelta

from mesh.elements.feed_cursor import FeedCursor
from storage_server.catalog.catalog import Catalog
from storage_server.catalog.feed import Feed
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.sidecar_changes import tombstoned, updated
from tests.integration.catalog.back_door import clean, on_both
from tests.integration.catalog.files import AnyCatalog, a_sidecar, commit, now, upload


@on_both
async def test_an_entry_shows_the_file_as_it_is_now(catalog: AnyCatalog) -> None:
    sidecar = a_sidecar()
    await upload(catalog, sidecar)
    changed = updated(sidecar, {"version": "2"}, now())
    await commit(catalog, changed, ChangeKind.UPDATED)
    first, second = await catalog.feed.read(0)
    assert (first.kind, second.kind) == (ChangeKind.CREATED, ChangeKind.UPDATED)
    assert first.row == second.row
    assert first.row is not None
    assert first.row.sidecar == changed


@on_both
async def test_an_entry_of_a_file_without_row_names_the_file(catalog: AnyCatalog) -> None:
    sidecar = a_sidecar()
    await upload(catalog, sidecar)
    await clean(catalog)
    (change,) = await catalog.feed.read(0)
    assert (change.file_id, change.row) == (sidecar.file_id, None)


@on_both
async def test_a_cursor_is_known_by_its_change_id(catalog: AnyCatalog) -> None:
    committed = await upload(catalog, a_sidecar())
    assert await catalog.feed.change_id_at(1) == committed.change_id
    assert await catalog.feed.change_id_at(2) is None


async def test_trimming_keeps_the_latest_entries(catalog: Catalog) -> None:
    assert await catalog.feed.oldest() is None
    for _ in range(5):
        await upload(catalog, a_sidecar())
    audited = await place(catalog.feed, 5)
    assert await catalog.feed.trim(2, audited=audited, wait=timedelta(days=1)) == 3
    assert await catalog.feed.trim(2, audited=audited, wait=timedelta(days=1)) == 0
    assert await catalog.feed.oldest() == 4
    assert [change.sequence for change in await catalog.feed.read(0)] == [4, 5]
    assert (await catalog.feed.head()).sequence == 5


async def test_what_the_audit_has_not_is_kept_for_some_days(catalog: Catalog) -> None:
    for _ in range(5):
        await upload(catalog, a_sidecar())
    feed, day = catalog.feed, timedelta(days=1)
    last = await place(feed, 5)
    for unknown in (
        FeedCursor(),
        FeedCursor("another", 5, last.change_id),
        FeedCursor(last.epoch, 5, "of a history that was restored over"),
    ):
        assert await feed.trim(1, audited=unknown, wait=day) == 0
    assert await feed.trim(1, audited=await place(feed, 3), wait=day) == 2
    # The audit's own place stays: by it the audit knows the history.
    assert await feed.oldest() == 3
    assert await feed.trim(1, audited=FeedCursor(), wait=timedelta()) == 2
    assert await feed.oldest() == 5


async def place(feed: Feed, sequence: int) -> FeedCursor:
    found = await feed.place(sequence)
    return FeedCursor(found.epoch, sequence, found.change_id)


async def test_a_snapshot_and_the_feed_after_its_head_miss_nothing(catalog: Catalog) -> None:
    files = [a_sidecar() for _ in range(9)]
    for sidecar in files:
        await upload(catalog, sidecar)
    head = await catalog.feed.head()
    seen = {}
    late = a_sidecar()
    async for batch in catalog.feed.rows_in_batches(batch_size=2):
        if not seen:
            await commit(catalog, tombstoned(files[0], now()), ChangeKind.DELETED)
            await commit(catalog, tombstoned(files[8], now()), ChangeKind.DELETED)
            await upload(catalog, late)
        seen |= {row.sidecar.file_id: row.sidecar for row in batch}
    for change in await catalog.feed.read(head.sequence):
        assert change.row is not None
        seen[change.file_id] = change.row.sidecar
    expected = await catalog.reads.get_many([one.file_id for one in (*files, late)])
    assert seen == {file_id: row.sidecar for file_id, row in expected.items()}
    assert await catalog.feed.total_rows() == 10


async def test_new_tables_are_not_complete(catalog: Catalog) -> None:
    assert await catalog.feed.rows_lost()
    assert not await catalog.reads.is_complete()
