"""Uploads that go on where they stopped: after a cut stream, a restart, a wrong byte."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import grpc
import pytest

from artstore.v1 import uploads_pb2
from mesh.calls.status import from_rpc_error
from mesh.contract import CHUNK_BYTES
from mesh.errors import Unavailable
from storage_server.catalog.pending import Pending
from storage_server.catalog.writes import Writes
from storage_server.upkeep import maintenance
from storage_server.uploads import keeping
from storage_server.uploads.open_uploads import OpenUploads
from tests.support.storage_rig import CHUNK, Node, Rig, accepted, chunk_of, noise
from tests.support.waiting import until

Code = grpc.StatusCode
MIB = 1024 * 1024


async def test_a_resumable_upload_becomes_a_file(shared: Node) -> None:
    data = noise(3 * MIB + 5)
    opened = await shared.start_upload(size_bytes=len(data))
    assert opened.upload_id.startswith("se-01.")
    assert opened.storage_element_id == "se-01"
    assert opened.endpoint.endswith(str(shared.server.port))
    assert opened.chunk_size_bytes == CHUNK_BYTES == 2**20
    await shared.write_upload(opened, data)
    answer = await shared.commit_upload(
        opened, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest()
    )
    assert answer.change_token
    assert await shared.download(answer.file.file_id) == data
    assert (await shared.get_upload(opened)).file.file_id == answer.file.file_id


async def test_an_empty_file_needs_no_write(shared: Node) -> None:
    opened = await shared.start_upload()
    answer = await shared.commit_upload(opened, size_bytes=0)
    assert answer.file.size_bytes == 0
    assert await shared.download(answer.file.file_id) == b""


async def test_committing_twice_answers_the_same_file(shared: Node) -> None:
    opened = await shared.start_upload()
    await shared.write_upload(opened, b"12345")
    first, second = await asyncio.gather(shared.commit_upload(opened), shared.commit_upload(opened))
    assert first.file.file_id == second.file.file_id
    assert first.change_token == second.change_token


async def test_after_a_cut_stream_it_goes_on_from_get_upload(shared: Node) -> None:
    data = noise(20 * MIB)
    opened = await shared.start_upload()
    call = shared.open_write(opened)
    await call.write(uploads_pb2.WriteUploadRequest(upload_id=opened.upload_id))
    assert await accepted(call)
    for at in range(0, 18 * MIB, CHUNK):
        await call.write(uploads_pb2.WriteUploadRequest(chunk=chunk_of(data, at)))
    call.cancel()
    at = (await shared.get_upload(opened)).committed_size_bytes
    assert 0 <= at <= 18 * MIB
    await shared.write_upload(opened, data[at:], offset=at)
    answer = await shared.commit_upload(opened, size_bytes=len(data))
    assert await shared.download(answer.file.file_id) == data


async def test_it_survives_a_restart_of_the_server(rig: Rig) -> None:
    data = noise(20 * MIB)
    async with rig.running() as node:
        opened = await node.start_upload(size_bytes=len(data))
        recorded = await node.write_upload(opened, data[: 17 * MIB])
        reserved = (await node.element()).reserved_bytes
    async with rig.running() as node:
        assert (await node.element()).reserved_bytes == reserved == len(data)
        at = (await node.get_upload(opened)).committed_size_bytes
        assert at == recorded > 0
        await node.write_upload(opened, data[at:], offset=at)
        answer = await node.commit_upload(opened, sha256=hashlib.sha256(data).hexdigest())
        assert await node.download(answer.file.file_id) == data
        assert (await node.element()).reserved_bytes == 0
    async with rig.running() as node:
        assert (await node.commit_upload(opened)).file.file_id == answer.file.file_id


async def test_bytes_that_are_there_may_be_sent_again(shared: Node) -> None:
    data = noise(2 * MIB)
    opened = await shared.start_upload()
    await shared.write_upload(opened, data[:MIB])
    # Below what is there nothing is read: other bytes do no harm.
    await shared.write_upload(opened, b"\0" * CHUNK)
    await shared.write_upload(opened, data[CHUNK + 7 :], offset=CHUNK + 7, chunk_size=100_001)
    answer = await shared.commit_upload(opened, size_bytes=len(data))
    assert await shared.download(answer.file.file_id) == data


async def test_a_gap_is_out_of_range(shared_local: Node) -> None:
    opened = await shared_local.start_upload()
    await shared_local.write_upload(opened, b"12345")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await shared_local.write_upload(opened, b"789", offset=6)
    assert error.value.code() == Code.OUT_OF_RANGE
    assert (await shared_local.get_upload(opened)).committed_size_bytes == 5


async def test_a_chunk_with_a_wrong_checksum_is_not_kept(shared_local: Node) -> None:
    opened = await shared_local.start_upload()
    await shared_local.write_upload(opened, b"12345")
    call = shared_local.open_write(opened)
    bad = chunk_of(b"12345678", 5)
    bad.crc32c ^= 1
    await call.write(uploads_pb2.WriteUploadRequest(upload_id=opened.upload_id, chunk=bad))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    assert error.value.code() == Code.DATA_LOSS
    assert (await shared_local.get_upload(opened)).committed_size_bytes == 5


@pytest.mark.parametrize("sending", [False, True])
async def test_a_newer_stream_takes_the_upload_over(shared_local: Node, sending: bool) -> None:
    data = noise(32 * CHUNK)
    opened = await shared_local.start_upload()
    older = shared_local.open_write(opened)
    await older.write(
        uploads_pb2.WriteUploadRequest(upload_id=opened.upload_id, chunk=chunk_of(data, 0))
    )
    assert await accepted(older)

    async def send() -> None:
        for at in range(CHUNK, len(data), CHUNK):
            await older.write(uploads_pb2.WriteUploadRequest(chunk=chunk_of(data, at)))
            await asyncio.sleep(0.005)

    sender = asyncio.ensure_future(send()) if sending else None
    await shared_local.write_upload(opened, data)
    if sender is not None:
        await asyncio.gather(sender, return_exceptions=True)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await older
    assert error.value.code() == Code.ABORTED
    answer = await shared_local.commit_upload(opened, sha256=hashlib.sha256(data).hexdigest())
    assert answer.file.size_bytes == len(data)


async def test_a_commit_of_too_few_bytes_is_out_of_range_and_goes_on(shared: Node) -> None:
    opened = await shared.start_upload()
    await shared.write_upload(opened, b"12345")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await shared.commit_upload(opened, size_bytes=8)
    assert error.value.code() == Code.OUT_OF_RANGE
    await shared.write_upload(opened, b"678", offset=5)
    answer = await shared.commit_upload(opened, size_bytes=8)
    assert await shared.download(answer.file.file_id) == b"12345678"


async def _rest(upload_id: str, patch: pytest.MonkeyPatch) -> None:
    """Wait until an element that looks often has found an upload unused for long enough."""
    forgotten, real = asyncio.Event(), OpenUploads.forget

    def forget(uploads: OpenUploads, one: str) -> None:
        real(uploads, one)
        if one == upload_id:
            forgotten.set()

    with patch.context() as resting:
        resting.setattr(keeping, "IDLE_CLOSE_SECONDS", -1.0)
        resting.setattr(OpenUploads, "forget", forget)
        await forgotten.wait()


@pytest.mark.parametrize("restarts", [False, True])
async def test_what_s3_did_not_keep_is_sent_again_before_the_commit(
    s3_rig: Rig, monkeypatch: pytest.MonkeyPatch, *, restarts: bool
) -> None:
    monkeypatch.setattr(maintenance, "INTERVAL_SECONDS", 0.05)
    data = noise(1000)
    async with s3_rig.running() as node:
        opened = await node.start_upload()
        # S3 takes whole parts alone.
        assert await node.write_upload(opened, data) == 0
        if not restarts:
            await _rest(opened.upload_id, monkeypatch)
            await _goes_on_from_nothing(node, opened, data)
            return
    async with s3_rig.running() as node:
        await _goes_on_from_nothing(node, opened, data)


async def test_what_a_store_has_lost_is_sent_again_before_the_commit(local_rig: Rig) -> None:
    data = noise(1000)
    async with local_rig.running() as node:
        opened = await node.start_upload()
        assert await node.write_upload(opened, data) == len(data)
    for staged in (local_rig.root / ".staging").iterdir():
        staged.unlink()
    async with local_rig.running() as node:
        await _goes_on_from_nothing(node, opened, data)


async def _goes_on_from_nothing(
    node: Node, opened: uploads_pb2.StartUploadResponse, data: bytes
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await node.commit_upload(opened)
    refused = from_rpc_error(error.value)
    assert (error.value.code(), refused.reason) == (Code.OUT_OF_RANGE, "INCOMPLETE")
    assert refused.metadata["committed_size_bytes"] == "0"
    assert (await node.list()).total_size == 0
    assert (await node.get_upload(opened)).committed_size_bytes == 0
    await node.write_upload(opened, data)
    answer = await node.commit_upload(opened)
    assert await node.download(answer.file.file_id) == data


async def test_a_commit_of_too_many_bytes_is_data_loss_and_keeps_the_offset(shared: Node) -> None:
    opened = await shared.start_upload()
    await shared.write_upload(opened, b"12345")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await shared.commit_upload(opened, size_bytes=4)
    assert error.value.code() == Code.DATA_LOSS
    assert (await shared.commit_upload(opened, size_bytes=5)).file.size_bytes == 5


async def test_after_a_wrong_digest_the_bytes_may_be_sent_again(shared: Node) -> None:
    good = noise(MIB)
    bad = bytes([good[0] ^ 1]) + good[1:]
    opened = await shared.start_upload(sha256=hashlib.sha256(good).hexdigest())
    await shared.write_upload(opened, bad)
    before = (await shared.list()).total_size
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await shared.commit_upload(opened)
    assert error.value.code() == Code.DATA_LOSS
    assert (await shared.list()).total_size == before
    await shared.write_upload(opened, good)
    answer = await shared.commit_upload(opened)
    assert await shared.download(answer.file.file_id) == good


async def test_after_a_wrong_digest_at_the_commit_the_offset_stays(shared: Node) -> None:
    data = noise(17 * MIB)
    opened = await shared.start_upload()
    kept = await shared.write_upload(opened, data)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await shared.commit_upload(opened, sha256="0" * 64)
    assert error.value.code() == Code.DATA_LOSS
    assert (await shared.get_upload(opened)).committed_size_bytes == kept >= 16 * MIB
    # The bytes were right, so nothing need be sent again.
    answer = await shared.commit_upload(opened, sha256=hashlib.sha256(data).hexdigest())
    assert await shared.download(answer.file.file_id) == data


async def test_more_than_was_declared_is_refused(shared_local: Node) -> None:
    opened = await shared_local.start_upload(size_bytes=4)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await shared_local.write_upload(opened, b"12345")
    assert error.value.code() == Code.DATA_LOSS
    await shared_local.write_upload(opened, b"1234")
    assert (await shared_local.commit_upload(opened)).file.size_bytes == 4


@pytest.mark.parametrize("token", ["", "wrong"])
@pytest.mark.parametrize("method", ["GetUpload", "CommitUpload", "AbortUpload"])
async def test_without_its_token_nobody_touches_an_upload(
    shared_local: Node, method: str, token: str
) -> None:
    opened = await shared_local.start_upload()
    request = getattr(uploads_pb2, f"{method}Request")(upload_id=opened.upload_id)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await shared_local.call(method, request, upload_token=token)
    assert error.value.code() == Code.PERMISSION_DENIED


async def test_the_token_of_another_upload_does_not_fit(shared_local: Node) -> None:
    one, other = await shared_local.start_upload(), await shared_local.start_upload()
    one.upload_token = other.upload_token
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await shared_local.write_upload(one, b"12345")
    assert error.value.code() == Code.PERMISSION_DENIED


@pytest.mark.parametrize("upload_id", ["se-01.nothing", "se-02.else", "", "se-01.\0"])
async def test_an_upload_that_is_not_there_is_not_found(shared_local: Node, upload_id: str) -> None:
    opened = uploads_pb2.StartUploadResponse(upload_id=upload_id, upload_token="t")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await shared_local.get_upload(opened)
    assert error.value.code() == Code.NOT_FOUND


async def test_an_aborted_upload_leaves_nothing(rig: Rig) -> None:
    async with rig.running() as node:
        opened = await node.start_upload(size_bytes=10 * MIB)
        await node.write_upload(opened, noise(9 * MIB))
        request = uploads_pb2.AbortUploadRequest(upload_id=opened.upload_id)
        for _ in range(2):
            await node.call("AbortUpload", request, upload_token=opened.upload_token, role="USER")
        assert rig.files() == []
        assert (await node.element()).reserved_bytes == 0
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await node.write_upload(opened, b"1")
        assert error.value.code() == Code.NOT_FOUND


async def test_aborting_a_committed_upload_keeps_the_file(shared: Node) -> None:
    opened = await shared.start_upload()
    file = (await shared.commit_upload(opened)).file
    request = uploads_pb2.AbortUploadRequest(upload_id=opened.upload_id)
    await shared.call("AbortUpload", request, upload_token=opened.upload_token)
    assert (await shared.get(file.file_id)).file_id == file.file_id
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await shared.write_upload(opened, b"more")
    assert error.value.code() == Code.FAILED_PRECONDITION


async def test_an_upload_nobody_touches_is_dropped(local_rig: Rig) -> None:
    async with local_rig.running() as node:
        opened = await node.start_upload()
        await node.write_upload(opened, noise(MIB))
    async with local_rig.running(upload_idle_days=1e-9) as node:
        await until(lambda: local_rig.files() == [])
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await node.get_upload(opened)
        assert error.value.code() == Code.NOT_FOUND
        await until(_reserves_nothing(node))


def _reserves_nothing(node: Node) -> Any:
    async def asked() -> bool:
        return (await node.element()).reserved_bytes == 0

    return asked


async def _down(*_: Any, **__: Any) -> Any:
    raise Unavailable("database artstore is not answering")


@pytest.mark.parametrize("lost", [(Pending, "begin_write"), (Writes, "commit_row")])
async def test_a_commit_cut_off_by_the_database_is_repeated(
    rig: Rig, lost: tuple[type, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = noise(MIB)
    async with rig.running() as node:
        opened = await node.start_upload()
        await node.write_upload(opened, data)
        with monkeypatch.context() as broken:
            broken.setattr(*lost, _down)
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await node.commit_upload(opened)
            assert error.value.code() == Code.UNAVAILABLE
        answer = await node.commit_upload(opened)
        assert await node.download(answer.file.file_id) == data
        listed = await node.list()
        assert [file.file_id for file in listed.files] == [answer.file.file_id]
        element = await node.element()
        assert (element.used_bytes, element.reserved_bytes, element.file_count) == (MIB, 0, 1)


async def test_a_file_whose_commit_was_cut_off_is_found_after_the_restart(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = noise(MIB)
    async with rig.running() as node:
        opened = await node.start_upload()
        await node.write_upload(opened, data)
        with monkeypatch.context() as broken:
            broken.setattr(Writes, "commit_row", _down)
            with pytest.raises(grpc.aio.AioRpcError):
                await node.commit_upload(opened)
    async with rig.running() as node:
        file = (await node.get_upload(opened)).file
        assert await node.download(file.file_id) == data
        await until(_reserves_nothing(node))


async def test_a_silent_stream_is_ended_and_keeps_what_came(local_rig: Rig) -> None:
    async with local_rig.running(stream_idle_seconds=0.2) as node:
        opened = await node.start_upload()
        call = node.open_write(opened)
        first = uploads_pb2.WriteUploadRequest(
            upload_id=opened.upload_id, chunk=chunk_of(b"12345", 0)
        )
        await call.write(first)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call
        assert error.value.code() == Code.ABORTED
        assert (await node.get_upload(opened)).committed_size_bytes == 5
