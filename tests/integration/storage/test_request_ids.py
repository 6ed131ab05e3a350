"""A request_id makes a retry harmless: one file, whoever repeats, however the first one ended."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from artstore.v1 import storage_pb2, types_pb2, uploads_pb2
from mesh.calls.status import from_rpc_error
from mesh.errors import Unavailable
from storage_server.catalog.writes import Writes
from tests.support.storage_rig import CHUNK, Node, Rig, accepted, chunk_of, noise

Header = uploads_pb2.UploadHeader
Code = grpc.StatusCode


async def test_a_repeat_answers_the_first_file(shared: Node) -> None:
    first = await shared.upload(b"once", request_id="repeat")
    again = await shared.upload(b"once", request_id="repeat")
    assert again.file.file_id == first.file.file_id
    assert again.file.request_id == "repeat"
    assert again.change_token == first.change_token


async def test_a_repeat_with_another_header_already_exists(shared_local: Node) -> None:
    await shared_local.upload(request_id="other", description="one")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await shared_local.upload(request_id="other", description="two")
    assert error.value.code() == Code.ALREADY_EXISTS


@pytest.mark.parametrize("first_by", ["stream", "session"])
async def test_a_repeat_for_a_file_deleted_since_is_not_found(shared: Node, first_by: str) -> None:
    """An OK would be taken for a file that is kept."""
    request_id = f"deleted {first_by}"
    if first_by == "stream":
        file = (await shared.upload(b"once", request_id=request_id)).file
        opened = None
    else:
        opened = await shared.start_upload(request_id=request_id)
        await shared.write_upload(opened, b"once")
        file = (await shared.commit_upload(opened)).file
    await shared.call("DeleteFile", storage_pb2.DeleteFileRequest(file_id=file.file_id))
    repeats = [shared.upload(b"once", request_id=request_id)]
    repeats.append(shared.start_upload(request_id=request_id))
    if opened is not None:
        repeats += [shared.commit_upload(opened), shared.get_upload(opened)]
    for repeat in repeats:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await repeat
        assert error.value.code() == Code.NOT_FOUND
        assert file.file_id in (error.value.details() or "")
        assert from_rpc_error(error.value).reason == "FILE_DELETED"
    await shared.call("UndeleteFile", storage_pb2.UndeleteFileRequest(file_id=file.file_id))
    assert (await shared.upload(b"once", request_id=request_id)).file.file_id == file.file_id


async def test_a_request_id_belongs_to_one_account(shared_local: Node) -> None:
    first = await shared_local.upload(request_id="mine", claims={"sub": "alice"})
    second = await shared_local.upload(request_id="mine", claims={"sub": "bob"})
    assert first.file.file_id != second.file.file_id


async def test_a_repeat_after_an_update_still_finds_its_file(shared_local: Node) -> None:
    first = await shared_local.upload(request_id="updated", description="one")
    await shared_local.call(
        "UpdateFile",
        storage_pb2.UpdateFileRequest(
            file_id=first.file.file_id, file=types_pb2.File(description="changed")
        ),
    )
    again = await shared_local.upload(request_id="updated", description="one")
    assert again.file.file_id == first.file.file_id
    assert again.file.description == "changed"


async def test_repeats_at_the_same_time_make_one_file(shared_local: Node) -> None:
    data = noise(CHUNK)
    answers = await asyncio.gather(
        *(shared_local.upload(data, request_id="at once") for _ in range(8)),
        return_exceptions=True,
    )
    ids = {answer.file.file_id for answer in answers if not isinstance(answer, BaseException)}
    assert len(ids) == 1
    for answer in answers:
        if isinstance(answer, BaseException):
            assert isinstance(answer, grpc.aio.AioRpcError)
            assert answer.code() == Code.ABORTED


@pytest.mark.parametrize("sending", [False, True])
async def test_a_second_upload_takes_over_a_first_that_is_running(
    shared_local: Node, sending: bool
) -> None:
    request_id = f"take over {sending}"
    first = shared_local.open_upload()
    header = Header(original_filename="a.txt", request_id=request_id)
    await first.write(uploads_pb2.UploadRequest(header=header))
    assert await accepted(first)
    data = noise(64 * CHUNK)

    async def send() -> None:
        for at in range(0, len(data), CHUNK):
            await first.write(uploads_pb2.UploadRequest(chunk=chunk_of(data, at)))
            await asyncio.sleep(0.005)

    sender = asyncio.ensure_future(send()) if sending else None
    answer = await shared_local.upload(b"second", request_id=request_id)
    if sender is not None:
        await asyncio.gather(sender, return_exceptions=True)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await first
    assert error.value.code() == Code.ABORTED
    assert await shared_local.download(answer.file.file_id) == b"second"


async def test_an_upload_takes_over_an_open_resumable_one(shared: Node) -> None:
    opened = await shared.start_upload(request_id="from resumable")
    await shared.write_upload(opened, b"some bytes")
    answer = await shared.upload(b"all of it", request_id="from resumable")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await shared.get_upload(opened)
    assert error.value.code() == Code.NOT_FOUND
    assert await shared.download(answer.file.file_id) == b"all of it"


async def test_start_upload_again_answers_the_same_upload_with_a_new_token(shared: Node) -> None:
    first = await shared.start_upload(request_id="start again")
    await shared.write_upload(first, b"12345")
    again = await shared.start_upload(request_id="start again")
    assert again.upload_id == first.upload_id
    assert again.upload_token != first.upload_token
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await shared.get_upload(first)
    assert error.value.code() == Code.PERMISSION_DENIED
    await shared.get_upload(again)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await shared.start_upload(request_id="start again", description="other")
    assert error.value.code() == Code.ALREADY_EXISTS


async def test_start_upload_after_the_commit_shows_the_file(shared: Node) -> None:
    opened = await shared.start_upload(request_id="committed")
    await shared.write_upload(opened, b"12345")
    file = (await shared.commit_upload(opened)).file
    again = await shared.start_upload(request_id="committed")
    assert again.upload_id == opened.upload_id
    assert (await shared.get_upload(again)).file.file_id == file.file_id


async def test_start_upload_after_a_streamed_upload_shows_its_file(shared: Node) -> None:
    file = (await shared.upload(b"12345", request_id="streamed")).file
    opened = await shared.start_upload(request_id="streamed")
    answer = await shared.get_upload(opened)
    assert answer.file.file_id == file.file_id
    assert answer.committed_size_bytes == 5
    assert (await shared.commit_upload(opened)).file.file_id == file.file_id


async def test_after_a_lost_row_the_repeat_finds_the_file(
    local_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database dies just after the sidecar: the file exists, and the caller hears of it."""
    async with local_rig.running() as node:
        with monkeypatch.context() as broken:

            async def down(*_: Any, **__: Any) -> Any:
                raise Unavailable("database artstore is not answering")

            broken.setattr(Writes, "commit_row", down)
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await node.upload(b"kept", request_id="lost row")
            assert error.value.code() == Code.UNAVAILABLE
        assert len(local_rig.files()) == 2
        answer = await node.upload(b"kept", request_id="lost row")
        assert len(local_rig.files()) == 2
        assert await node.download(answer.file.file_id) == b"kept"
        listed = await node.list()
        assert [file.file_id for file in listed.files] == [answer.file.file_id]
        element = await node.element()
        assert (element.used_bytes, element.file_count) == (4, 1)


async def test_a_repeat_after_a_restart_answers_the_first_file(local_rig: Rig) -> None:
    async with local_rig.running() as node:
        first = await node.upload(b"once", request_id="restart")
    async with local_rig.running() as node:
        again = await node.upload(b"once", request_id="restart")
        assert again.file.file_id == first.file.file_id
