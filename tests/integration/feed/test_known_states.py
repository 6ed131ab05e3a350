"""A follower is told of the states that it knows; an element says who knows less."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from artstore.v1 import changes_pb2, storage_pb2, types_pb2
from storage_server.domain.sidecar import FileState, encode
from storage_server.store.port import SIDECAR_SUFFIX
from tests.integration.feed.by_hand import repair
from tests.support.cache_rig import a_sidecar, path_of
from tests.support.storage_rig import Node, Rig

LATER = (FileState.COPY, FileState.INCOMING, FileState.GONE, FileState.ERASED)
ALL = list(types_pb2.FileState.values())
FOLLOWER = {"role": "SERVICE", "sub": "query"}


@pytest.fixture
async def node(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[Node]:
    async with Rig(tmp_path, database_url=database_url, redis_url=redis_url).running() as node:
        yield node


def put(node: Node, state: FileState) -> str:
    """A file whose sidecar says that state, as another store has left it; its id."""
    sidecar = replace(a_sidecar(), state=state)
    if state is FileState.ERASED:
        sidecar = replace(sidecar, sha256="", original_filename="", size_bytes=0)
    path = node.rig.root / path_of(sidecar)
    path.parent.mkdir(parents=True, exist_ok=True)
    if state not in (FileState.GONE, FileState.ERASED):
        path.with_name(path.name.removesuffix(SIDECAR_SUFFIX)).write_bytes(b"hello")
    path.write_bytes(encode(sidecar))
    return sidecar.file_id


def follow(node: Node, known: list[int], **claims: Any) -> Any:
    request = changes_pb2.WatchChangesRequest(known_states=known)  # type: ignore[arg-type]
    return node.stub.WatchChanges(request, metadata=node.bearer(**FOLLOWER | claims), timeout=20)


async def snapshot(call: Any) -> dict[str, int]:
    """States by id, of the snapshot that a follower is told."""
    told = {}
    async for message in call:
        told.update({change.file_id: change.file.state for change in message.changes.changes})
        if message.HasField("snapshot_end"):
            return told
    raise AssertionError("the feed ended")


async def behind(node: Node, **claims: Any) -> list[str]:
    answer = await node.call("GetElement", storage_pb2.GetElementRequest(), **claims)
    return list(answer.element.followers_behind)


async def test_a_state_that_a_follower_does_not_name_is_told_as_deleted(node: Node) -> None:
    files = {state: put(node, state) for state in (*LATER, FileState.MOVED)}
    await repair(node)
    call = follow(node, [])
    told = await snapshot(call)
    assert {told[files[state]] for state in LATER} == {types_pb2.FILE_STATE_DELETED}
    assert told[files[FileState.MOVED]] == types_pb2.FILE_STATE_MOVED
    assert await behind(node) == ["query"]
    assert await behind(node, role="READONLY") == []
    call.cancel()
    knowing = follow(node, ALL)
    told = await snapshot(knowing)
    words = {state: types_pb2.FileState.Value(f"FILE_STATE_{state.name}") for state in files}
    assert told == {files[state]: number for state, number in words.items()}
    async with asyncio.timeout(10):
        while await behind(node):
            knowing.cancel()
            knowing = follow(node, ALL)
            await snapshot(knowing)
    knowing.cancel()


async def test_a_follower_that_is_no_server_holds_no_moves_up(node: Node) -> None:
    for claims in (
        {"role": "ADMIN", "sub": "alice", "aud": "artstore"},
        {"sub": "of-one-namespace", "ns_read": ["theirs"], "ns_write": ["theirs"]},
    ):
        call = follow(node, [], **claims)
        assert await snapshot(call) == {}
        assert await behind(node) == []
        call.cancel()


async def test_a_user_of_an_element_sees_homes_only_and_room_counts_all_bytes(node: Node) -> None:
    home = (await node.upload()).file.file_id
    for state in LATER:
        await asyncio.to_thread(put, node, state)
    await repair(node)
    page = await node.call("ListFiles", storage_pb2.StorageServiceListFilesRequest())
    assert ([file.file_id for file in page.files], page.total_size) == ([home], 1)
    page = await node.call(
        "ListFiles", storage_pb2.StorageServiceListFilesRequest(show_deleted=True)
    )
    assert page.total_size == 1
    answer = await node.call("GetElement", storage_pb2.GetElementRequest())
    assert (answer.element.file_count, answer.element.used_bytes) == (1, 15)


async def test_a_copy_is_read_and_not_changed_through_the_stubs(node: Node) -> None:
    file_id = await asyncio.to_thread(put, node, FileState.COPY)
    assert await node.download(file_id, role="USER") == b"hello"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await node.call("DeleteFile", storage_pb2.DeleteFileRequest(file_id=file_id))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    looked = await node.call(
        "GetFile",
        storage_pb2.StorageServiceGetFileRequest(file_id=file_id, show_deleted=True),
        role="SERVICE",
    )
    assert (looked.file.state, looked.bytes_present) == (types_pb2.FILE_STATE_COPY, True)
    assert len(looked.digest) == 32
