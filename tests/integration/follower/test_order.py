"""What comes late undoes nothing, and an answer is not given before it is true."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from artstore.v1 import cache_pb2, cache_pb2_grpc, storage_pb2
from mesh.follower import Cursor, follower
from mesh.follower.replicas import CursorMoved, SnapshotRun
from tests.support.following import Following, element_head, replica_rows
from tests.support.storage_rig import Node
from tests.support.waiting import until

Follow = Callable[..., Following]


async def test_files_of_a_snapshot_read_before_their_end_do_not_come_back(
    own_element: Node, follow: Follow
) -> None:
    """A delete and a drop overtake the snapshot that still holds the files."""
    deleted = (await own_element.upload(original_filename="deleted.txt")).file.file_id
    dropped = (await own_element.upload(original_filename="dropped.txt")).file.file_id
    await own_element.upload(original_filename="stays.txt")
    following = follow(own_element)
    async with following.running():
        await following.agrees()
        write, go_on, held = following.table.apply_snapshot, asyncio.Event(), asyncio.Event()

        async def late(run: SnapshotRun, files: Any) -> int:
            held.set()
            await go_on.wait()
            return int(await write(run, files))

        following.table.apply_snapshot = late  # type: ignore[method-assign]
        reading = asyncio.create_task(following.fleet.resync(seconds=30))
        await held.wait()
        await own_element.call("DeleteFile", storage_pb2.DeleteFileRequest(file_id=deleted))
        for path in own_element.rig.root.rglob(f"*{dropped}*"):
            path.unlink()
        caches: Any = cache_pb2_grpc.CacheServiceStub(own_element.channel)
        await caches.RebuildCache(
            cache_pb2.RebuildCacheRequest(), metadata=own_element.bearer(), timeout=20
        )
        await until(following.caught_up)
        go_on.set()
        await reading
        assert {row[3] for row in await replica_rows(following.table)} == {"stays.txt"}
        await following.agrees()


async def test_a_cursor_that_was_made_anew_brings_a_snapshot_of_an_idle_element(
    own_element: Node, follow: Follow, replica_database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "RENEW_SECONDS", 0.2)
    await own_element.upload()
    following = follow(own_element)
    async with following.running():
        await following.agrees()
        await replica_database.execute("DELETE FROM follow_cursors; DELETE FROM replicas")
        await following.agrees(5)
        assert len(await replica_rows(following.table)) == 1


async def test_a_heartbeat_finds_out_that_the_cursor_is_gone(
    shared_element: Node, follow: Follow
) -> None:
    table = follow(shared_element).table
    assert await table.note_contact("se-01", "e1", 3) is None
    assert await table.lead("se-01", seconds=60) is not None
    assert await table.note_contact("se-01", "e1", 3) == ""


async def test_the_beat_of_a_new_epoch_answers_nobody_who_waits_for_it(
    shared_element: Node, follow: Follow
) -> None:
    following = follow(shared_element)
    table = following.table
    assert await table.lead("se-01", seconds=60) is not None
    run = SnapshotRun("se-01", "s", 5, replace=True)
    await table.begin_snapshot(run)
    await table.finish_snapshot(run, Cursor("e1", 5, "x"), number=0, files=0)
    waiting = asyncio.create_task(following.fleet.progress.wait_for("se-01", "e2", 1))
    await asyncio.sleep(0.3)
    # The element has a new history; the cursor is still of the old one.
    assert await table.note_contact("se-01", "e2", 1) == "e1"
    status = await following.status()
    assert status is not None
    assert not status.complete
    assert (await asyncio.wait({waiting}, timeout=0.7))[0] == set()
    await table.begin_snapshot(run)
    await table.finish_snapshot(run, Cursor("e2", 1, "y"), number=0, files=0)
    await asyncio.wait_for(waiting, 5)


async def test_a_snapshot_whose_tables_were_made_anew_is_not_finished(
    shared_element: Node, follow: Follow, replica_database: Any
) -> None:
    table = follow(shared_element).table
    assert await table.lead("se-01", seconds=60) is not None
    run = SnapshotRun("se-01", "s", 5, replace=True)
    await table.begin_snapshot(run)
    await table.set_aside_of_snapshot(run, "f", 1, ValueError("no"), seen=True)
    await replica_database.execute("DELETE FROM follow_cursors")
    assert await table.lead("se-01", seconds=60) is not None
    with pytest.raises(CursorMoved):
        await table.finish_snapshot(run, Cursor("e1", 5, "x"), number=0, files=1)


async def test_an_element_that_dies_in_a_snapshot_removes_nothing(
    own_element: Node, follow: Follow, replica_database: Any
) -> None:
    for n in range(3):
        await own_element.upload(original_filename=f"{n}.txt")
    following = follow(own_element)
    async with following.running():
        await following.agrees()
    rows = await replica_rows(following.table)
    await replica_database.execute("UPDATE follow_cursors SET epoch = 'another'")
    dying = follow(own_element)

    async def dies(*_: Any) -> int:
        dying.endpoint = "127.0.0.1:1"
        raise TimeoutError("the element is gone in the middle of it")

    dying.table.apply_snapshot = dies  # type: ignore[method-assign]
    async with dying.running():
        await until(lambda: _told(dying))
        assert await replica_rows(dying.table) == rows
        status = await dying.status()
        assert status is not None
        assert not status.complete
    _, head = await element_head(own_element)
    async with following.running():
        await following.agrees()
    assert head == 3


async def _told(following: Following) -> bool:
    status = await following.status()
    return status is not None and "in the middle" in status.last_error
