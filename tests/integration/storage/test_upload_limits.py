"""Open uploads as one account has them on one element: what they hold, and for how long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from artstore.v1 import storage_pb2, uploads_pb2
from tests.support.caller import ending_of
from tests.support.open_files import open_stages
from tests.support.storage_rig import Node, Rig, accepted, chunk_of
from tests.support.waiting import until

Code = grpc.StatusCode
UNIT = 2**20
CAPACITY = 100 * UNIT
ROOM = 99 * UNIT


@pytest.fixture
async def small(local_rig: Rig) -> AsyncIterator[Node]:
    """An element of which any disk can hold as much as it may."""
    local_rig.values["capacity_bytes"] = CAPACITY
    async with local_rig.running() as running:
        yield running


async def refusal(node: Node, **header: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await node.start_upload(**header)
    ending = ending_of(error.value, 0)
    assert ending.code is Code.RESOURCE_EXHAUSTED
    assert ending.has_retry_info
    assert "artstore uploads" in ending.text
    return ending.reason


async def open_uploads(node: Node, **asked: Any) -> list[storage_pb2.OpenUpload]:
    request = storage_pb2.ListUploadsRequest(**asked)
    return list((await node.call("ListUploads", request)).uploads)


async def reserved(node: Node) -> int:
    return int((await node.element()).reserved_bytes)


async def reserves(node: Node, size: int) -> None:
    async def so_much() -> bool:
        return await reserved(node) == size

    await until(so_much)


async def test_an_account_is_held_to_its_limits_and_others_are_not(small: Node) -> None:
    few = {"sub": "few", "limits": {"open_uploads": 3, "reserved_percent": 1}}
    for _ in range(3):
        await small.start_upload(size_bytes=1, claims=few)
    assert await refusal(small, size_bytes=1, claims=few) == "TOO_MANY_UPLOADS"
    call = small.open_upload(**few)
    await call.write(
        uploads_pb2.UploadRequest(header=uploads_pb2.UploadHeader(original_filename="a"))
    )
    assert await call.code() is Code.RESOURCE_EXHAUSTED

    greedy = {"sub": "greedy"}
    await small.start_upload(size_bytes=80 * UNIT, claims=greedy)
    await small.start_upload(size_bytes=9 * UNIT, claims=greedy)
    assert await refusal(small, size_bytes=UNIT, claims=greedy) == "UPLOAD_SHARE"
    await small.start_upload(size_bytes=UNIT, claims={"sub": "other"})
    request = storage_pb2.GetUploadTotalsRequest(created_by="greedy")
    told = await small.call("GetUploadTotals", request, role="SERVICE")
    assert (told.open_uploads, told.unsent_size_bytes) == (2, 89 * UNIT)
    assert (told.largest_unsent_size_bytes, told.free_size_bytes) == (80 * UNIT, ROOM)
    assert not told.undecided


async def test_room_without_a_byte_lapses_also_over_restarts_and_is_asked_for_again(
    local_rig: Rig,
) -> None:
    local_rig.values["capacity_bytes"] = CAPACITY
    async with local_rig.running() as node:
        silent = await node.start_upload(size_bytes=80 * UNIT, original_filename="silent")
        sending = await node.start_upload(size_bytes=UNIT, original_filename="sending")
        await node.write_upload(sending, b"abc")
    async with local_rig.running(upload_lapse_seconds=0.2) as node:
        await reserves(node, UNIT)
        shown = {one.header.original_filename: one for one in await open_uploads(node)}
        assert shown["silent"].lapsed
        assert shown["silent"].reserved_size_bytes == 0
        assert not shown["sending"].lapsed
        assert shown["sending"].reserved_size_bytes == UNIT
    async with local_rig.running() as node:
        assert await reserved(node) == UNIT
        other = await node.start_upload(size_bytes=90 * UNIT, claims={"sub": "other"})
        with pytest.raises(grpc.aio.AioRpcError) as gone:
            await node.write_upload(silent, b"abc")
        assert ending_of(gone.value, 0).reason == "NO_SPACE"
        await node.call(
            "AbortUpload", uploads_pb2.AbortUploadRequest(upload_id=other.upload_id, as_owner=True)
        )
        assert await node.write_upload(silent, b"abc") == 3
        assert await reserved(node) == 81 * UNIT
        assert not any(one.lapsed for one in await open_uploads(node))
    async with local_rig.running() as node:
        assert await reserved(node) == 81 * UNIT


async def test_an_upload_without_bytes_takes_no_file_and_a_silent_one_no_descriptor(
    local_rig: Rig,
) -> None:
    async with local_rig.running() as node:
        opened = await node.start_upload()
        streams = [node.open_upload(), node.open_write(opened)]
        await streams[0].write(
            uploads_pb2.UploadRequest(header=uploads_pb2.UploadHeader(original_filename="a"))
        )
        await streams[1].write(uploads_pb2.WriteUploadRequest(upload_id=opened.upload_id))
        assert all([await accepted(stream) for stream in streams])
        assert local_rig.files() == []
        assert open_stages() == []

        await streams[0].write(uploads_pb2.UploadRequest(chunk=chunk_of(b"a", 0)))
        await streams[1].write(uploads_pb2.WriteUploadRequest(chunk=chunk_of(b"a", 0)))
        await until(lambda: len(local_rig.files()) == 2)
        await until(lambda: open_stages() == [])

        chunk = chunk_of(b"ab", 0)
        chunk.offset, chunk.data = 1, b"b"
        chunk.ClearField("crc32c")
        await streams[0].write(uploads_pb2.UploadRequest(chunk=chunk))
        await streams[0].write(uploads_pb2.UploadRequest(finish=uploads_pb2.UploadFinish()))
        await streams[0].done_writing()
        file = (await streams[0]).file
        assert await node.download(file.file_id) == b"ab"
        await streams[1].write(uploads_pb2.WriteUploadRequest(chunk=chunk))
        await streams[1].done_writing()
        assert (await streams[1]).committed_size_bytes == 2
        file = (await node.commit_upload(opened)).file
        assert await node.download(file.file_id) == b"ab"


async def test_uploads_are_aborted_by_their_owner_without_a_token_and_by_nobody_else(
    small: Node,
) -> None:
    first = await small.start_upload(size_bytes=UNIT, claims={"sub": "alice"})
    request = uploads_pb2.AbortUploadRequest(upload_id=first.upload_id, as_owner=True)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await small.call("AbortUpload", request, sub="bob", role="USER")
    assert ending_of(refused.value, 0).reason == "UPLOAD_TOKEN"
    await small.call("AbortUpload", request, sub="alice", role="USER")
    assert await reserved(small) == 0
