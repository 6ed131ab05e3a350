"""WatchChanges as a follower sees it: snapshot, tail, heartbeats, files that moved."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from artstore.v1 import changes_pb2, storage_pb2, types_pb2
from storage_server.catalog.feed import Feed
from storage_server.domain.sidecar import FileState, encode
from storage_server.feed import watch
from storage_server.store.port import SIDECAR_SUFFIX
from tests.integration.feed.by_hand import put_files, repair
from tests.support.cache_rig import a_sidecar, path_of
from tests.support.following import on_element, tables_of
from tests.support.storage_rig import Node, Rig


@pytest.fixture
async def node(
    tmp_path: Path, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Node]:
    monkeypatch.setattr(watch, "HEARTBEAT_SECONDS", 0.2)
    async with Rig(tmp_path, database_url=database_url, redis_url=redis_url).running() as node:
        yield node


@asynccontextmanager
async def watching(node: Node, cursor: str = "", **claims: Any) -> AsyncIterator[Any]:
    call = node.stub.WatchChanges(
        changes_pb2.WatchChangesRequest(cursor=cursor),
        metadata=node.bearer(**{"role": "SERVICE"} | claims),
        timeout=20,
    )
    try:
        yield aiter(call)
    finally:
        call.cancel()


async def next_of(messages: Any, kind: str) -> Any:
    """The next message of this kind; those before it are left out."""
    async for message in messages:
        if message.WhichOneof("payload") == kind:
            return getattr(message, kind)
    raise AssertionError(f"the feed ended without a {kind}")


async def next_change(messages: Any) -> Any:
    """The first change of the next message that has some."""
    return (await next_of(messages, "changes")).changes[0]


async def test_a_new_follower_gets_a_snapshot_then_changes_and_beats(node: Node) -> None:
    stored = await node.upload(original_filename="first.txt")
    async with watching(node) as messages:
        begin = await next_of(messages, "snapshot_begin")
        assert (begin.head_position, begin.file_count) == (1, 1)
        change = await next_change(messages)
        assert change.file.file_id == stored.file.file_id
        end = await next_of(messages, "snapshot_end")
        assert (end.cursor, end.position) == (begin.cursor, 1)
        for _ in range(2):
            beat = await next_of(messages, "heartbeat")
            assert (beat.cursor, beat.position, beat.head_position) == (end.cursor, 1, 1)
        later = await node.upload(original_filename="later.txt")
        change = await next_change(messages)
        assert (change.position, change.kind) == (2, changes_pb2.CHANGE_KIND_CREATED)
        assert change.file.file_id == later.file.file_id
    # Whoever knows a place goes on from there.
    async with watching(node, cursor=end.cursor) as messages:
        first = await anext(messages)
        if first.HasField("heartbeat"):
            first = await anext(messages)
        assert [change.position for change in first.changes.changes] == [2]


async def test_files_of_a_snapshot_and_changes_come_by_the_hundreds(node: Node) -> None:
    await node.upload()
    async with watching(node) as messages:
        first = await next_of(messages, "snapshot_end")
    await put_files(node, 620)
    await repair(node)
    async with watching(node) as messages:
        sizes = []
        async for message in messages:
            if message.HasField("changes"):
                sizes.append(len(message.changes.changes))
            if message.HasField("snapshot_end"):
                break
    assert sizes == [500, 121]
    async with watching(node, cursor=first.cursor) as messages:
        told = [await next_of(messages, "changes") for _ in range(2)]
    assert [len(one.changes) for one in told] == [500, 120]
    positions = [change.position for one in told for change in one.changes]
    assert positions == list(range(2, 622))
    change = told[0].changes[41]
    # Each of them is a place to go on from.
    async with watching(node, cursor=change.cursor) as messages:
        assert (await next_change(messages)).position == change.position + 1
    assert change.revision == change.file.revision == 1
    assert len(change.digest) == 32


async def test_a_cursor_that_is_none_is_refused(node: Node) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async with watching(node, cursor="nonsense") as messages:
            await anext(messages)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_change_whose_row_was_cleaned_says_what_happened_and_to_which_file(
    node: Node,
) -> None:
    stored = await node.upload()
    async with watching(node) as messages:
        end = await next_of(messages, "snapshot_end")
    file_id = stored.file.file_id
    await node.call(
        "UpdateFile",
        storage_pb2.UpdateFileRequest(file_id=file_id, file=types_pb2.File(description="new")),
    )
    await on_element(node, f"DELETE FROM {tables_of(node).files}")
    async with watching(node, cursor=end.cursor) as messages:
        change = await next_change(messages)
    assert change.kind == changes_pb2.CHANGE_KIND_UPDATED
    assert change.file_id == file_id
    assert not change.HasField("file")


async def test_a_repair_wakes_followers_that_wait(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "POLL_SECONDS", 3600.0)
    async with watching(node) as messages:
        await next_of(messages, "snapshot_end")
        await next_of(messages, "heartbeat")
        await put_files(node, 1)
        await repair(node)
        change = await asyncio.wait_for(next_change(messages), 10)
        (node.rig.root / change.file.storage_path).rename(node.rig.root / "gone")
        await repair(node, "RebuildCache")
        change = await asyncio.wait_for(next_change(messages), 10)
    assert change.kind == changes_pb2.CHANGE_KIND_DROPPED


async def test_only_services_and_admins_may_follow(node: Node) -> None:
    call = node.stub.WatchChanges(
        changes_pb2.WatchChangesRequest(), metadata=node.bearer(role="USER"), timeout=10
    )
    with pytest.raises(grpc.aio.AioRpcError) as denied:
        await anext(aiter(call))
    assert denied.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_file_that_moved_serves_its_bytes_and_refuses_updates(node: Node) -> None:
    sidecar = a_sidecar(b"moved bytes", state=FileState.MOVED, finalized_to="se-02")
    path = node.rig.root / path_of(sidecar)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(path.name.removesuffix(SIDECAR_SUFFIX)).write_bytes(b"moved bytes")
    path.write_bytes(encode(sidecar))
    await repair(node)
    assert await node.download(sidecar.file_id) == b"moved bytes"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await node.call(
            "UpdateFile",
            storage_pb2.UpdateFileRequest(
                file_id=sidecar.file_id, file=types_pb2.File(description="too late")
            ),
        )
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    async with watching(node) as messages:
        change = await asyncio.wait_for(next_change(messages), 10)
    assert change.file.state == types_pb2.FILE_STATE_MOVED


@pytest.mark.parametrize("role", ["SERVICE", "ADMIN"])
async def test_a_follower_is_told_of_its_namespaces_only(node: Node, role: str) -> None:
    mine = [(await node.upload(namespace="mine")).file.file_id]
    await node.upload(namespace="theirs")
    bound = {"role": role, "ns_read": ["mine"], "ns_write": ["mine"]}

    def changed(messages: Any) -> Any:
        return next_of(messages, "changes")

    async with watching(node, **bound) as messages:
        begin = await next_of(messages, "snapshot_begin")
        assert (begin.head_position, begin.file_count) == (2, 1)
        assert [one.file_id for one in (await changed(messages)).changes] == mine
        end = await next_of(messages, "snapshot_end")
        assert end.position == 2
        await node.upload(namespace="theirs")
        # What it is not told of moves it on all the same.
        while (beat := await next_of(messages, "heartbeat")).position < 3:
            pass
        mine.append((await node.upload(namespace="mine")).file.file_id)
        (change,) = (await changed(messages)).changes
        assert (change.position, change.file_id) == (4, mine[1])
    for cursor in (end.cursor, beat.cursor):
        async with watching(node, cursor=cursor, **bound) as messages:
            (again,) = (await changed(messages)).changes
            assert (again.position, again.file_id) == (4, mine[1])
    async with watching(node, ns_read=["mine", "theirs"]) as messages:
        assert (await next_of(messages, "snapshot_begin")).file_count == 4


async def test_a_change_without_a_row_is_told_to_those_of_the_files_namespace(node: Node) -> None:
    stored = [await node.upload(namespace=name) for name in ("mine", "theirs")]
    async with watching(node, ns_read=["mine"]) as messages:
        end = await next_of(messages, "snapshot_end")
    for one in stored:
        update = storage_pb2.UpdateFileRequest(
            file_id=one.file.file_id, file=types_pb2.File(description="new")
        )
        await node.call("UpdateFile", update)
    await on_element(node, f"DELETE FROM {tables_of(node).files}")
    async with watching(node, cursor=end.cursor, ns_read=["mine"]) as messages:
        (change,) = (await next_of(messages, "changes")).changes
    assert change.file_id == stored[0].file.file_id


async def test_a_snapshot_ends_before_its_token_ends_the_stream(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put_files(node, 2)
    await repair(node)
    soon = int(time.time()) + 1
    real, slow = Feed.rows_in_batches, asyncio.Event()

    async def slowly(feed: Feed, **options: Any) -> AsyncIterator[Any]:
        async for rows in real(feed, **options):
            await slow.wait()
            yield rows

    monkeypatch.setattr(Feed, "rows_in_batches", slowly)
    async with watching(node, exp=soon) as messages:
        await next_of(messages, "snapshot_begin")
        await asyncio.sleep(soon + 0.2 - time.time())
        slow.set()
        await next_of(messages, "snapshot_end")
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await next_of(messages, "snapshot_begin")
    assert ended.value.code() is grpc.StatusCode.UNAUTHENTICATED
