"""Feeds whose history is not the follower's any more, and two processes of one server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from artstore.v1 import storage_pb2, types_pb2
from mesh.elements import change_token
from mesh.errors import NotFound, Unavailable
from mesh.follower import Cursor, CursorMoved, lag
from storage_server.catalog.catalog import Catalog
from tests.support.following import (
    Following,
    element_head,
    on_element,
    replica_rows,
    tables_of,
)
from tests.support.storage_rig import Node, Rig
from tests.support.waiting import until

Follow = Callable[..., Following]


async def drop_tables(node: Node) -> None:
    """As an operator might; the element makes them anew within seconds, with a new epoch."""
    tables = tables_of(node)
    await on_element(node, f"DROP TABLE {', '.join(tables.all())}, public.{tables.version} CASCADE")


async def epoch_other_than(node: Node, epoch: str) -> bool:
    try:
        return (await element_head(node))[0] != epoch
    except Exception:
        return False


async def test_tables_made_anew_bring_a_new_epoch_while_following(
    own_element: Node, follow: Follow
) -> None:
    files = [await own_element.upload(original_filename=f"{n}.txt") for n in range(3)]
    following = follow(own_element)
    async with following.running():
        await following.agrees()
        epoch, _ = await element_head(own_element)
        await drop_tables(own_element)
        await until(lambda: epoch_other_than(own_element, epoch), 20)
        await following.agrees(30)
        assert len(await replica_rows(following.table)) == 3
        # A token of the epoch that is over is satisfied: its change is part of the snapshot.
        old = change_token.decode(files[-1].change_token)
        assert old.epoch == epoch
        async with asyncio.timeout(8):
            await following.fleet.progress.wait_for(old.element_id, old.epoch, old.sequence)


async def test_a_token_of_an_epoch_that_the_follower_does_not_know_yet_waits(
    own_element: Node, follow: Follow
) -> None:
    following = follow(own_element)
    async with following.running():
        await following.agrees()
        epoch, _ = await element_head(own_element)
        status = await following.status()
        assert status is not None
        following.endpoint = "127.0.0.1:1"  # the element cannot be reached any more
        await asyncio.sleep(1.2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await following.fleet.progress.wait_for("se-01", "a newer epoch", 1)
        async with asyncio.timeout(1.0):
            await following.fleet.progress.wait_for("se-01", epoch, status.cursor.sequence)


async def test_a_database_restored_from_a_backup_is_noticed_by_the_change_id(
    own_rig: Rig, follow: Follow
) -> None:
    async with own_rig.running() as node:
        stored = [await node.upload(original_filename=f"{n}.txt") for n in range(5)]
        following = follow(node)
        async with following.running():
            await following.agrees()
        tables = tables_of(node)
        # The backup was made after two changes; since then the same numbers were used again.
        lost = [answer.file.file_id for answer in stored[2:]]
        await on_element(node, f"DELETE FROM {tables.files} WHERE file_id = ANY($1::text[])", lost)
        await on_element(node, f"DELETE FROM {tables.feed} WHERE sequence > 2")
        await on_element(node, f"UPDATE {tables.feed_head} SET seq = 2, file_count = 2")
        for path in node.rig.root.rglob("*"):
            if any(file_id in path.name for file_id in lost):
                path.unlink()
        again = [await node.upload(original_filename=f"again {n}.txt") for n in range(4)]
        _, sequence = await element_head(node)
        assert sequence == 6
        async with following.running():
            await following.agrees()
            # Rows of the lost history had higher sequences; later changes still get in.
            await node.call(
                "UpdateFile",
                storage_pb2.UpdateFileRequest(
                    file_id=stored[0].file.file_id, file=types_pb2.File(description="later")
                ),
            )
            await node.call(
                "DeleteFile", storage_pb2.DeleteFileRequest(file_id=again[0].file.file_id)
            )
            await following.agrees()


@pytest.mark.parametrize("damage", ["beyond", "other id", "trimmed", "other epoch"])
async def test_a_cursor_that_is_no_place_of_the_history_means_a_snapshot(
    own_element: Node, follow: Follow, replica_database: Any, damage: str
) -> None:
    for n in range(4):
        await own_element.upload(original_filename=f"{n}.txt")
    following = follow(own_element)
    async with following.running():
        await following.agrees()
    await own_element.upload(original_filename="while away.txt")
    if damage == "trimmed":
        catalog = Catalog(replica_database, tables_of(own_element))
        await on_element(own_element, f"DELETE FROM {catalog.tables.feed} WHERE sequence <= 4")
    else:
        change = {
            "beyond": "sequence = 1000",
            "other id": "change_id = 'x'",
            "other epoch": "epoch = 'x'",
        }[damage]
        await replica_database.execute(f"UPDATE follow_cursors SET {change}")
    before = lag.SNAPSHOTS.labels("se-01")._value.get()
    async with following.running():
        await following.agrees()
    assert lag.SNAPSHOTS.labels("se-01")._value.get() == before + 1


async def test_a_cursor_within_the_history_goes_on_without_a_snapshot(
    shared_element: Node, follow: Follow
) -> None:
    following = follow(shared_element)
    async with following.running():
        await following.agrees()
    for n in range(3):
        await shared_element.upload(original_filename=f"while away {n}.txt")
    before = lag.SNAPSHOTS.labels("se-01")._value.get()
    async with following.running():
        await following.agrees()
    assert lag.SNAPSHOTS.labels("se-01")._value.get() == before


async def test_two_processes_take_turns_and_either_may_ask_for_a_snapshot(
    shared_element: Node, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mesh.follower import follower

    monkeypatch.setattr(follower, "LEAD_SECONDS", 1.0)
    monkeypatch.setattr(follower, "RENEW_SECONDS", 0.2)
    first, second = follow(shared_element), follow(shared_element)
    async with second.running():
        async with first.running():
            await first.agrees()
            for one in (first, second):
                counts = await one.fleet.resync("se-01", seconds=10)
                assert counts["se-01"] == len(await replica_rows(first.table))
            stored = await shared_element.upload(original_filename="both see it.txt")
            token = change_token.decode(stored.change_token)
            async with asyncio.timeout(5):
                for one in (first, second):
                    await one.fleet.progress.wait_for("se-01", token.epoch, token.sequence)
        # The one that led, or not, has gone.
        await shared_element.upload(original_filename="alone.txt")
        await second.agrees()


async def test_a_process_that_lost_the_lead_writes_nothing(
    shared_element: Node, follow: Follow
) -> None:
    late, new = follow(shared_element), follow(shared_element)
    lead = await late.table.lead("se-01", seconds=-1)
    assert lead is not None
    assert await new.table.lead("se-01", seconds=60) is not None
    file = types_pb2.File(file_id="late", state=types_pb2.FILE_STATE_ACTIVE)
    with pytest.raises(CursorMoved):
        await late.table.apply("se-01", lead.cursor, Cursor("", 1, "x"), files=[(1, file)])
    assert await replica_rows(new.table) == set()
    assert await late.table.lead("se-01", seconds=1) is None


async def test_a_snapshot_of_an_element_that_is_down_is_refused_in_time(
    shared_element: Node, follow: Follow
) -> None:
    following = follow(shared_element)
    following.endpoint = "127.0.0.1:1"
    async with following.running():
        started = time.monotonic()
        with pytest.raises(Unavailable, match="se-01"):
            await following.fleet.resync(seconds=3)
        assert time.monotonic() - started < 4
        with pytest.raises(NotFound):
            await following.fleet.resync("se-99", seconds=3)
        status = await following.status()
        assert status is not None
        assert "UNAVAILABLE" in status.last_error


async def test_lag_grows_while_the_element_is_away_and_ends_when_it_is_back(
    own_element: Node, follow: Follow
) -> None:
    def seconds() -> float:
        return float(lag.SECONDS.labels("se-01").collect()[0].samples[0].value)

    following = follow(own_element)
    endpoint = following.endpoint
    async with following.running():
        await following.agrees()
        await until(lambda: seconds() == 0)
        following.endpoint = "127.0.0.1:1"
        await until(lambda: seconds() > 0.5)
        status = await following.status()
        assert status is not None
        assert status.behind_since is not None
        following.endpoint = endpoint
        await until(lambda: seconds() == 0)


async def test_a_refused_token_is_replaced(own_element: Node, follow: Follow) -> None:
    following = follow(own_element)
    following.token = "no token of this mesh"
    async with following.running():
        await following.agrees()
    assert following.refusals >= 1


async def test_a_whole_snapshot_is_read_again_at_the_interval(
    own_element: Node, follow: Follow, replica_database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mesh.follower import follower

    monkeypatch.setattr(follower, "RENEW_SECONDS", 0.1)
    await own_element.upload(original_filename="true.txt")
    following = follow(own_element, reconcile_seconds=0.3)
    async with following.running():
        await following.agrees()
        await replica_database.execute("UPDATE replicas SET original_filename = 'false.txt'")
        await until(
            lambda: replica_database.fetchval(
                "SELECT count(*) = 1 FROM replicas WHERE original_filename = 'true.txt'"
            )
        )
