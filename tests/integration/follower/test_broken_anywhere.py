"""A follower that dies between any two steps loses nothing and undoes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from artstore.v1 import storage_pb2, types_pb2
from mesh.concurrency.watched import seen
from mesh.follower import each_element, fleet
from tests.support.following import (
    FailingTable,
    Following,
    on_element,
    replica_rows,
    tables_of,
)
from tests.support.storage_rig import Node
from tests.support.waiting import until

Follow = Callable[..., Following]


async def change_some(node: Node) -> None:
    """An upload, an update, a delete that is undone, and one that is not."""
    files = [await node.upload(original_filename=f"{n}.txt") for n in range(4)]
    ids = [answer.file.file_id for answer in files]
    await node.call(
        "UpdateFile",
        storage_pb2.UpdateFileRequest(file_id=ids[0], file=types_pb2.File(description="new")),
    )
    for file_id in ids[1:3]:
        await node.call("DeleteFile", storage_pb2.DeleteFileRequest(file_id=file_id))
    await node.call("UndeleteFile", storage_pb2.UndeleteFileRequest(file_id=ids[1]))


async def a_life(node: Node, following: Following) -> None:
    """Snapshot, tail, and a second snapshot beside the tail."""
    async with following.running():
        await until(following.caught_up, 20)
        await change_some(node)
        await until(following.caught_up, 20)
        await following.fleet.resync(seconds=20)
        await following.agrees(20)


@pytest.mark.parametrize("fatal", [1, 2, 3])
async def test_death_at_any_step_of_snapshot_and_tail(
    shared_element: Node, follow: Follow, monkeypatch: pytest.MonkeyPatch, fatal: int
) -> None:
    monkeypatch.setattr(fleet, "DISCOVERY_SECONDS", 0.02)
    monkeypatch.setattr(each_element, "telling", lambda *_: seen)
    following = follow(shared_element)
    following.table.fatal = fatal
    for _ in range(fatal):
        await a_life(shared_element, following)
    whole = {f"{when} {name}" for name in FailingTable.METHODS for when in ("before", "after")}
    assert following.table.deaths >= whole - {"before apply_unseen", "after apply_unseen"}


async def test_rows_that_the_snapshot_lacks_are_removed_only_when_the_element_says_so(
    own_element: Node, follow: Follow
) -> None:
    kept = await own_element.upload(original_filename="kept.txt")
    gone = await own_element.upload(original_filename="gone.txt")
    following = follow(own_element)
    async with following.running():
        await following.agrees()
        files = tables_of(own_element).files
        # Both rows vanish without a word; one file's sidecar vanishes too.
        await on_element(own_element, f"DELETE FROM {files}")
        for path in own_element.rig.root.rglob(f"*{gone.file.file_id}*"):
            path.unlink()
        await following.fleet.resync(seconds=30)
        names = {row[3] for row in await replica_rows(following.table)}
        assert names == {"kept.txt"}
        assert (await own_element.get(kept.file.file_id)).original_filename == "kept.txt"


async def test_a_snapshot_repairs_rows_that_somebody_changed(
    shared_element: Node, follow: Follow, replica_database: Any
) -> None:
    await shared_element.upload(original_filename="true.txt")
    following = follow(shared_element)
    async with following.running():
        await following.agrees()
        await replica_database.execute("UPDATE replicas SET original_filename = 'false.txt'")
        await replica_database.execute("UPDATE replicas SET tags = '{a,b}', size_bytes = 1")
        assert await following.fleet.resync(seconds=20)
        await following.agrees()


@pytest.mark.parametrize("cleaned", [False, True])
async def test_files_whose_rows_were_cleaned_reach_a_new_follower(
    own_element: Node, follow: Follow, cleaned: bool
) -> None:
    for n in range(5):
        await own_element.upload(original_filename=f"{n}.txt")
    files, head = tables_of(own_element).files, tables_of(own_element).feed_head
    await on_element(own_element, f"DELETE FROM {files}")
    if cleaned:
        await on_element(own_element, f"UPDATE {head} SET complete = false")
    following = follow(own_element)
    async with following.running():
        await following.agrees()
        assert len(await replica_rows(following.table)) == 5
