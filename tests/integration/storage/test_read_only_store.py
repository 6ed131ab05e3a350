"""An element whose store reads but does not write: it says so, reads, refuses, comes back."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from botocore.exceptions import ClientError

from artstore.v1 import storage_pb2, types_pb2, uploads_pb2
from mesh.calls.status import from_rpc_error
from mesh.errors import Unavailable
from storage_server.catalog.writes import Writes
from storage_server.store import durable
from storage_server.store.s3_client import S3Client
from storage_server.writing import replay
from tests.support import mounts
from tests.support.services import RcloneProcess, S3Account
from tests.support.storage_rig import Node, Rig, noise
from tests.support.waiting import until

Code = grpc.StatusCode
PROBE_SECONDS = 0.2
REASON = "its file system is read-only"
MIB = 1024 * 1024


@pytest.fixture
async def node(local_rig: Rig) -> AsyncIterator[Node]:
    async with local_rig.running(write_probe_seconds=PROBE_SECONDS) as running:
        yield running


async def _says(node: Node, reason: str) -> None:
    async def said() -> bool:
        element = await node.element()
        return bool(element.unwritable_reason == reason and element.writable == (not reason))

    await until(said)


async def _refused(call: Any) -> None:
    """The call ends FAILED_PRECONDITION, reason STORE_READ_ONLY."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = from_rpc_error(caught.value)
    assert (caught.value.code(), error.reason) == (Code.FAILED_PRECONDITION, "STORE_READ_ONLY")


def _update(node: Node, file_id: str) -> Any:
    request = storage_pb2.UpdateFileRequest(file_id=file_id, file=types_pb2.File(description="new"))
    request.update_mask.paths.append("description")
    return node.call("UpdateFile", request)


async def test_files_are_read_and_nothing_is_taken_until_it_writes_again(node: Node) -> None:
    file = (await node.upload(b"stored before")).file
    await _says(node, "")
    with mounts.read_only(node.rig.root):
        await _says(node, REASON)
        assert await node.download(file.file_id) == b"stored before"
        assert (await node.get(file.file_id)).revision == 1
        await _refused(_update(node, file.file_id))
        await _refused(node.call("DeleteFile", storage_pb2.DeleteFileRequest(file_id=file.file_id)))
        await _refused(node.upload(b"x"))
        await _refused(node.start_upload())
        assert (await node.element()).reserved_bytes == 0
    await _says(node, "")
    assert (await _update(node, file.file_id)).file.revision == 2
    await node.upload(b"y")


async def test_a_write_that_meets_it_first_tells_the_element_at_once(local_rig: Rig) -> None:
    async with local_rig.running(write_probe_seconds=3600) as node:
        file = (await node.upload(b"stored before")).file
        with mounts.read_only(node.rig.root):
            assert (await node.element()).writable
            await _refused(_update(node, file.file_id))
            await _says(node, REASON)
        await _says(node, "")


async def test_an_upload_under_way_ends_and_nothing_of_it_stays(node: Node) -> None:
    opened = await node.start_upload(request_id="r-1", size_bytes=4 * MIB)
    assert await node.write_upload(opened, noise(MIB)) == MIB
    with mounts.read_only(node.rig.root):
        await _says(node, REASON)
        await _refused(node.write_upload(opened, noise(MIB), offset=MIB))
        await _refused(node.commit_upload(opened))
        assert (await node.get_upload(opened)).committed_size_bytes == MIB
        # The same request again: the upload here is given up, so that it can go elsewhere.
        await _refused(node.start_upload(request_id="r-1", size_bytes=4 * MIB))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await node.get_upload(opened)
        assert caught.value.code() is Code.NOT_FOUND
        assert (await node.element()).reserved_bytes == 0
        await _refused(node.start_upload(request_id="r-1", size_bytes=4 * MIB))
    await _says(node, "")
    await until(lambda: node.rig.files() == [])


async def test_an_upload_can_be_aborted(node: Node) -> None:
    opened = await node.start_upload(size_bytes=4 * MIB)
    await node.write_upload(opened, noise(MIB))
    with mounts.read_only(node.rig.root):
        await _says(node, REASON)
        request = uploads_pb2.AbortUploadRequest(upload_id=opened.upload_id)
        await node.call("AbortUpload", request, upload_token=opened.upload_token)
        assert (await node.element()).reserved_bytes == 0
    await until(lambda: node.rig.files() == [])


async def test_a_stream_that_is_sending_is_refused(node: Node) -> None:
    call = node.open_upload()
    header = uploads_pb2.UploadHeader(original_filename="a", request_id="r-1")
    await call.write(uploads_pb2.UploadRequest(header=header))
    await call.initial_metadata()
    with mounts.read_only(node.rig.root):
        await _says(node, REASON)
        await call.write(uploads_pb2.UploadRequest(chunk=types_pb2.Chunk(data=b"x")))
        await _refused(call)
    await _says(node, "")
    await until(lambda: node.rig.files() == [])


async def test_bytes_that_could_not_be_put_in_place_go_when_it_writes_again(
    local_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "LANDING_TIME", timedelta(0))
    async with local_rig.running(write_probe_seconds=3600) as node:
        opened = await node.start_upload(request_id="r-1")
        await node.write_upload(opened, b"12345")
        streaming = node.open_upload()
        header = uploads_pb2.UploadHeader(original_filename="a", request_id="r-2")
        await streaming.write(uploads_pb2.UploadRequest(header=header))
        await streaming.initial_metadata()
        with mounts.read_only(node.rig.root):
            # Noticed at the very end: what is open can still be written to.
            await _refused(node.commit_upload(opened))
            await streaming.write(
                uploads_pb2.UploadRequest(finish=uploads_pb2.UploadFinish(size_bytes=0))
            )
            await _refused(streaming)
            await _refused(node.start_upload(request_id="r-1"))
            await _refused(node.start_upload(request_id="r-2", original_filename="a"))
        await _says(node, "")
        await until(lambda: node.rig.files() == [], 20)


@pytest.mark.parametrize("resumable", [False, True])
async def test_a_file_that_was_made_just_before_is_what_a_repeat_answers(
    node: Node, monkeypatch: pytest.MonkeyPatch, resumable: bool
) -> None:
    async def no_row(*_: Any, **__: Any) -> Any:
        raise Unavailable("the database does not answer")

    header = {"request_id": "r-1", "size_bytes": 5}
    with monkeypatch.context() as patch:
        patch.setattr(Writes, "commit_row", no_row)
        with pytest.raises(grpc.aio.AioRpcError):
            if resumable:
                opened = await node.start_upload(**header)
                await node.write_upload(opened, b"12345")
                await node.commit_upload(opened)
            else:
                await node.upload(b"12345", **header)
    with mounts.read_only(node.rig.root):
        await _says(node, REASON)
        again = await node.start_upload(**header)
        file = (await node.get_upload(again)).file
        assert (await node.upload(b"12345", **header)).file.file_id == file.file_id
        assert await node.download(file.file_id) == b"12345"
    assert (await node.list()).total_size == 1


async def test_a_sidecar_that_is_there_counts_though_the_store_refused_right_after_it(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failing = durable.fsync, []

    def refuses_after_the_sidecar(fd: int) -> None:
        folder = Path(f"/proc/self/fd/{fd}").readlink()
        if folder.is_dir() and list(folder.glob("*.attr.json")):
            failing.append(folder)
            raise OSError(30, os.strerror(30))
        real(fd)

    with monkeypatch.context() as patch:
        patch.setattr(durable, "fsync", refuses_after_the_sidecar)
        file = (await node.upload(b"12345", request_id="r-1")).file
    assert failing
    assert (await node.upload(b"12345", request_id="r-1")).file.file_id == file.file_id
    assert (await node.list()).total_size == 1


async def test_a_start_on_such_a_store_serves_its_files(local_rig: Rig) -> None:
    async with local_rig.running() as node:
        file = (await node.upload(b"stored before")).file
    with mounts.read_only(local_rig.root):
        async with local_rig.running(write_probe_seconds=PROBE_SECONDS) as node:
            await _says(node, REASON)
            assert await node.download(file.file_id) == b"stored before"
            await _refused(node.upload(b"x"))


async def test_a_database_that_may_only_be_read_is_unavailable_and_named(node: Node) -> None:
    url = node.rig.values["database_url"]
    name = url.rpartition("/")[2].partition("?")[0]
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await _says(node, "the database takes no writes")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await node.upload(b"x")
        assert caught.value.code() is Code.UNAVAILABLE
        await connection.execute("SET default_transaction_read_only = off")
        await connection.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    finally:
        await connection.close()
    await until(lambda: _writable(node), 20)


async def _writable(node: Node) -> bool:
    return bool((await node.element()).writable)


class Denied:
    """An S3 account that loses the right to change anything while `on`."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.on = False
        real = S3Client._call

        async def call(client: Any, pool: Any, operation: str, *more: Any) -> Any:
            changing = operation.startswith(("put", "delete", "create", "upload", "complete", "ab"))
            return await real(client, self if self.on and changing else pool, operation, *more)

        patch.setattr(S3Client, "_call", call)

    @property
    def client(self) -> Any:
        return self

    def __getattr__(self, operation: str) -> Any:
        async def refuse(**_: Any) -> Any:
            raise ClientError(
                {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}},  # type: ignore[typeddict-item]
                operation,
            )

        return refuse


async def test_a_bucket_that_may_only_be_read(s3_rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    denied = Denied(monkeypatch)
    async with s3_rig.running(write_probe_seconds=PROBE_SECONDS) as node:
        file = (await node.upload(b"stored before")).file
        opened = await node.start_upload(request_id="r-1")
        await node.write_upload(opened, noise(9 * MIB))
        denied.on = True
        await _says(node, "the S3 server does not let it write to the bucket")
        assert await node.download(file.file_id) == b"stored before"
        await _refused(_update(node, file.file_id))
        await _refused(node.upload(b"x"))
        await _refused(node.commit_upload(opened))
        await _refused(node.start_upload(request_id="r-1"))
        denied.on = False
        await _says(node, "")
        await node.upload(b"y")
    denied.on = True
    async with s3_rig.running(write_probe_seconds=PROBE_SECONDS) as node:
        await _says(node, "the S3 server does not let it write to the bucket")
        assert await node.download(file.file_id) == b"stored before"


async def test_s3_server_whose_disk_is_read_only_is_left_out(
    rclone_rig: Rig, rclone_server: RcloneProcess, rclone_s3: S3Account
) -> None:
    """On rclone, whose objects are files."""
    async with rclone_rig.running(write_probe_seconds=PROBE_SECONDS) as node:
        file = (await node.upload(b"stored before")).file
        with mounts.read_only(rclone_server.root / rclone_s3.bucket):
            await until(lambda: _not_writable(node))
            assert await node.download(file.file_id) == b"stored before"
        await until(lambda: _writable(node))


async def _not_writable(node: Node) -> bool:
    return not await _writable(node)
