"""A rebuild while somebody writes, edits sidecars by hand, or deletes rows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from storage_server.domain.sidecar_changes import tombstoned
from tests.support.cache_rig import CacheRig, path_of, utc_now


def meanwhile(
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    method: str,
    happens: Callable[[], Awaitable[object]],
    *,
    before: bool = False,
) -> None:
    """Let something happen once, just after (or before) a step of the rebuild."""
    step = getattr(owner, method)
    left = [happens]

    async def stepping(*args: Any, **options: Any) -> Any:
        if before and left:
            await left.pop()()
        answer = await step(*args, **options)
        if not before and left:
            await left.pop()()
        return answer

    monkeypatch.setattr(owner, method, stepping)


@pytest.mark.parametrize("full", [True, False])
async def test_a_sidecar_restored_over_an_update_made_after_the_rebuild_began_is_the_truth(
    rig: CacheRig, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    sidecar = await rig.upload()

    async def update_and_restore() -> None:
        await rig.update(sidecar, description="by its user")
        rig.edit(sidecar, description="from the backup")

    meanwhile(monkeypatch, rig.catalog.feed, "head", update_and_restore)
    result = await rig.process.cache.rebuild(full=full)
    row = await rig.row(sidecar)
    assert row is not None
    assert row.sidecar.description == "from the backup"
    assert (result.entries_created, result.entries_updated, result.entries_deleted) == (0, 1, 0)
    assert (await rig.check()).is_consistent


async def test_a_file_updated_after_the_rebuild_began_and_then_removed_by_hand_is_dropped(
    rig: CacheRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    sidecar = await rig.upload()

    async def update_and_remove() -> None:
        await rig.update(sidecar, description="by its user")
        rig.backdoor.remove(path_of(sidecar))

    meanwhile(monkeypatch, rig.catalog.feed, "head", update_and_remove)
    result = await rig.full()
    assert await rig.row(sidecar) is None
    assert (result.cache_entries_after, result.entries_deleted) == (0, 1)


async def test_a_file_that_its_user_changes_during_the_rebuild_is_left_as_the_user_says(
    rig: CacheRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    sidecar = await rig.upload()
    rig.edit(sidecar, description="by hand")
    meanwhile(
        monkeypatch,
        rig.catalog.merge,
        "merge",
        lambda: rig.update(sidecar, description="by its user"),
        before=True,
    )
    await rig.full()
    row = await rig.row(sidecar)
    assert row is not None
    assert row.sidecar.description == "by its user"
    assert (await rig.check()).is_consistent


async def test_tombstones_count_in_no_total(rig: CacheRig) -> None:
    kept, deleted, again = await rig.upload_many(3)
    await rig.delete(deleted)
    await rig.sql("DELETE FROM {files}")
    result = await rig.full()
    assert (result.cache_entries_before, result.entries_created) == (0, 2)
    assert (result.cache_entries_after, result.attr_files_scanned) == (2, 2)
    rig.backdoor.remove(path_of(deleted))
    rig.edit(tombstoned(again, utc_now()))
    result = await rig.full()
    assert (result.cache_entries_before, result.cache_entries_after) == (2, 1)
    assert (result.entries_created, result.entries_updated, result.entries_deleted) == (0, 0, 1)
    rig.edit(again)
    rig.edit(kept, description="by hand")
    result = await rig.incremental()
    assert (result.cache_entries_before, result.cache_entries_after) == (1, 2)
    assert (result.entries_created, result.entries_updated, result.entries_deleted) == (1, 1, 0)


@pytest.mark.parametrize("edited", [True, False])
async def test_rows_deleted_behind_a_rebuild_are_found_before_a_new_follower_is_served(
    rig: CacheRig, monkeypatch: pytest.MonkeyPatch, edited: bool
) -> None:
    sidecar, _ = await rig.upload_many(2)
    if edited:
        rig.edit(sidecar, description="by hand")
    meanwhile(
        monkeypatch,
        rig.catalog.counters,
        "recount",
        lambda: rig.lose_row(sidecar),
        before=True,
    )
    await rig.full()
    assert await rig.row(sidecar) is None
    assert await rig.catalog.feed.rows_lost()
    await rig.incremental()
    assert not await rig.catalog.feed.rows_lost()
    assert await rig.row(sidecar) is not None


@pytest.mark.parametrize("lost_tables", [True, False])
async def test_writes_between_the_count_and_its_correction_are_counted_too(
    rig: CacheRig, monkeypatch: pytest.MonkeyPatch, lost_tables: bool
) -> None:
    deleted, kept = await rig.upload(b"four"), await rig.upload(b"seven77")
    await rig.sql("DELETE FROM {files}")
    if lost_tables:
        head = rig.catalog.tables.feed_head
        await rig.catalog.database.execute(f"UPDATE {head} SET used_bytes = 0, file_count = 0")

    async def write() -> None:
        await rig.upload(b"ten bytes.")
        await rig.delete(deleted)
        await rig.update(kept, description="changed")

    meanwhile(monkeypatch, rig.catalog.counters, "_count", write)
    await rig.full()
    head = await rig.catalog.feed.head()
    assert (head.used_bytes, head.file_count, head.complete) == (21, 2, True)


async def test_a_row_whose_time_lies_in_the_future_is_renewed(rig: CacheRig) -> None:
    sidecar = await rig.upload()
    await rig.age_row(sidecar, hours=-1000)
    await rig.full()
    row = await rig.row(sidecar)
    assert row is not None
    assert abs(row.cache_updated_at - utc_now()) < timedelta(minutes=1)
