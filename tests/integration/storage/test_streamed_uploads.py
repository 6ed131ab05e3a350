"""Uploads in one stream, up and down again, and everything that must be refused."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import grpc
import orjson
import pytest

from artstore.v1 import storage_pb2, types_pb2, uploads_pb2
from tests.support.caller import ended
from tests.support.storage_rig import CHUNK, Node, Rig, accepted, chunk_of, noise
from tests.support.waiting import until

Finish = uploads_pb2.UploadFinish
Header = uploads_pb2.UploadHeader
Code = grpc.StatusCode


@pytest.fixture
async def quiet(shared_local: Node) -> AsyncIterator[Node]:
    """An element that must be after the test as it was before."""
    node = shared_local
    await until(_settled(node))
    before = node.rig.files(), await _counters(node)
    yield node
    await until(lambda: node.rig.files() == before[0])
    await until(_settled(node))
    assert await _counters(node) == before[1]


async def _counters(node: Node) -> tuple[int, int, int, int]:
    element, listed = await node.element(), await node.list()
    return (
        element.used_bytes,
        element.reserved_bytes,
        element.file_count,
        listed.total_size,
    )


def _settled(node: Node) -> Any:
    async def asked() -> bool:
        return (await node.element()).reserved_bytes == 0

    return asked


@pytest.mark.parametrize("size", [0, 1, CHUNK, 3 * CHUNK + 17, 12 * 1024 * 1024])
async def test_what_goes_up_comes_down_byte_for_byte(shared: Node, size: int) -> None:
    data = noise(size)
    answer = await shared.upload(data, original_filename="report.pdf", size_bytes=size)
    assert answer.file.size_bytes == size
    assert answer.file.sha256 == hashlib.sha256(data).hexdigest()
    assert answer.change_token
    assert await shared.download(answer.file.file_id) == data


async def test_an_upload_is_blob_sidecar_and_row(local: Node) -> None:
    file = (await local.upload(b"x" * 10, original_filename="report.pdf")).file
    blob = f"{file.storage_path}/{file.storage_filename}"
    assert local.rig.files() == [blob, blob + ".attr.json"]
    sidecar = orjson.loads((local.rig.root / (blob + ".attr.json")).read_bytes())
    assert sidecar["file_id"] == file.file_id
    connection = await asyncpg.connect(local.rig.values["database_url"])
    try:
        row = await connection.fetchrow("SELECT * FROM storage_elem_01_files")
        waiting = await connection.fetchval("SELECT count(*) FROM storage_elem_01_pending_writes")
    finally:
        await connection.close()
    assert row["storage_filename"] == file.storage_filename
    assert row["sha256"] == hashlib.sha256(b"x" * 10).hexdigest()
    assert waiting == 0


async def test_without_a_policy_a_file_is_temporary_for_30_days(shared_local: Node) -> None:
    file = (await shared_local.upload()).file
    assert file.retention_policy == types_pb2.RETENTION_POLICY_TEMPORARY
    assert file.retention_days == 30
    assert file.expires_at.seconds - file.created_at.seconds == 30 * 86400
    assert file.created_by == "alice"
    assert file.namespace == "default"
    assert not file.cache_expired
    assert file.cache_ttl_hours == 24


async def test_a_permanent_file_does_not_expire(shared_local: Node) -> None:
    policy = types_pb2.RETENTION_POLICY_PERMANENT
    file = (await shared_local.upload(retention_policy=policy)).file
    assert file.retention_policy == policy
    assert not file.HasField("expires_at")
    assert file.retention_days == 0


@pytest.mark.parametrize(
    "name",
    [
        "отчёт за ноябрь.pdf",
        "👩‍👩‍👧‍👦.png",
        "../../etc/passwd",
        "Ж" * 500 + ".txt",
        ".pdf",
        'a<b>:"/\\|?*.txt',
        "CON",
    ],
)
async def test_any_name_is_kept_as_given_and_never_leaves_the_store(
    shared_local: Node, name: str
) -> None:
    file = (await shared_local.upload(original_filename=name)).file
    assert file.original_filename == name
    assert len(file.storage_filename.encode()) <= 200
    assert "/" not in file.storage_filename
    assert f"{file.storage_path}/{file.storage_filename}" in shared_local.rig.files()
    assert await shared_local.download(file.file_id) == b"hello"


REFUSED_HEADERS: list[tuple[dict[str, Any], Code]] = [
    ({"original_filename": ""}, Code.INVALID_ARGUMENT),
    ({"original_filename": "  "}, Code.INVALID_ARGUMENT),
    ({"original_filename": "a" * 1025}, Code.INVALID_ARGUMENT),
    ({"original_filename": "a\0b"}, Code.INVALID_ARGUMENT),
    ({"description": "a\0b"}, Code.INVALID_ARGUMENT),
    ({"description": "d" * 3072}, Code.INVALID_ARGUMENT),
    ({"attributes": {"k\0": "v"}}, Code.INVALID_ARGUMENT),
    ({"size_bytes": -1}, Code.INVALID_ARGUMENT),
    ({"sha256": "abc"}, Code.INVALID_ARGUMENT),
    ({"sha256": "A" * 64}, Code.INVALID_ARGUMENT),
    ({"retention_days": -1}, Code.INVALID_ARGUMENT),
    ({"retention_days": 3_651}, Code.INVALID_ARGUMENT),
    ({"retention_policy": 2, "retention_days": 5}, Code.INVALID_ARGUMENT),
    ({"retention_policy": 77}, Code.INVALID_ARGUMENT),
    ({"request_id": "r" * 129}, Code.INVALID_ARGUMENT),
    ({"namespace": "a*"}, Code.INVALID_ARGUMENT),
    ({"size_bytes": 1 << 59}, Code.RESOURCE_EXHAUSTED),
]


@pytest.mark.parametrize(("header", "code"), REFUSED_HEADERS)
async def test_a_bad_header_is_refused_before_a_byte(
    quiet: Node, header: dict[str, Any], code: Code
) -> None:
    call = quiet.open_upload()
    header = {"original_filename": "a.txt"} | header
    await call.write(uploads_pb2.UploadRequest(header=Header(**header)))
    assert not await accepted(call)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    assert error.value.code() == code


def _chunk(data: bytes, offset: int = 0, crc32c: int | None = None) -> types_pb2.Chunk:
    return types_pb2.Chunk(offset=offset, data=data, crc32c=crc32c)


OTHER_SHA = "0" * 64
REFUSED_BODIES: list[tuple[dict[str, Any], list[Any], Code]] = [
    ({}, [_chunk(b"abc", crc32c=1), Finish()], Code.DATA_LOSS),
    ({}, [_chunk(b"abc"), _chunk(b"def", offset=4), Finish()], Code.OUT_OF_RANGE),
    ({}, [_chunk(b"abc"), _chunk(b"abc"), Finish()], Code.OUT_OF_RANGE),
    ({}, [_chunk(b"abc", offset=-1), Finish()], Code.OUT_OF_RANGE),
    ({}, [_chunk(b"x" * (2 * 1024 * 1024 + 1)), Finish()], Code.RESOURCE_EXHAUSTED),
    ({"size_bytes": 4}, [_chunk(b"abc"), Finish()], Code.DATA_LOSS),
    ({"size_bytes": 2}, [_chunk(b"abc"), Finish()], Code.DATA_LOSS),
    ({"sha256": OTHER_SHA}, [_chunk(b"abc"), Finish()], Code.DATA_LOSS),
    ({}, [_chunk(b"abc"), Finish(size_bytes=4)], Code.DATA_LOSS),
    ({}, [_chunk(b"abc"), Finish(sha256=OTHER_SHA)], Code.DATA_LOSS),
    ({}, [_chunk(b"abc"), Finish(sha256="nonsense")], Code.INVALID_ARGUMENT),
    ({}, [_chunk(b"abc"), Finish(size_bytes=-3)], Code.INVALID_ARGUMENT),
    ({}, [_chunk(b"abc")], Code.INVALID_ARGUMENT),
    ({}, [], Code.INVALID_ARGUMENT),
]


@pytest.mark.parametrize(("header", "messages", "code"), REFUSED_BODIES)
async def test_wrong_bytes_end_with_their_status_and_leave_nothing(
    quiet: Node, header: dict[str, Any], messages: list[Any], code: Code
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await quiet.send_upload(Header(original_filename="a", **header), messages)
    assert error.value.code() == code


async def test_a_message_over_the_limit_is_refused(shared_local: Node) -> None:
    request = storage_pb2.StorageServiceGetFileRequest(file_id="x" * (5 * 1024 * 1024))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await shared_local.call("GetFile", request)
    assert error.value.code() == Code.RESOURCE_EXHAUSTED


async def test_an_upload_must_begin_with_its_header(quiet: Node) -> None:
    call = quiet.open_upload()
    await call.write(uploads_pb2.UploadRequest(finish=Finish()))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    assert error.value.code() == Code.INVALID_ARGUMENT


async def test_a_stream_that_is_cut_leaves_nothing(rig: Rig) -> None:
    async with rig.running() as node:
        call = node.open_upload()
        await call.write(uploads_pb2.UploadRequest(header=Header(original_filename="a")))
        assert await accepted(call)
        data = noise(10 * 1024 * 1024)
        for at in range(0, len(data), CHUNK):
            await call.write(uploads_pb2.UploadRequest(chunk=chunk_of(data, at)))
        call.cancel()
        await until(_settled(node))
        assert (await node.list()).total_size == 0
        await until(lambda: rig.files() == [])


async def test_a_deadline_in_mid_upload_leaves_nothing(quiet: Node) -> None:
    call = quiet.open_upload(timeout=0.5)
    await call.write(uploads_pb2.UploadRequest(header=Header(original_filename="a")))
    assert await accepted(call)
    await call.write(uploads_pb2.UploadRequest(chunk=chunk_of(noise(CHUNK), 0)))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    assert error.value.code() == Code.DEADLINE_EXCEEDED
    await until(_settled(quiet))


async def test_a_silent_stream_is_ended_after_its_time(local_rig: Rig) -> None:
    async with local_rig.running(stream_idle_seconds=0.1) as node:
        call = node.open_upload()
        await call.write(uploads_pb2.UploadRequest(header=Header(original_filename="a")))
        assert await accepted(call)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call
        assert error.value.code() == Code.ABORTED
        await until(lambda: local_rig.files() == [])


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"role": "READONLY"}, Code.PERMISSION_DENIED),
        ({"role": "USER"}, Code.PERMISSION_DENIED),
        ({"role": "NOBODY"}, Code.PERMISSION_DENIED),
        ({"exp": 1}, Code.UNAUTHENTICATED),
        ({"aud": "else"}, Code.UNAUTHENTICATED),
        ({"header": {"kid": "unknown"}}, Code.UNAUTHENTICATED),
        ({"ns_write": ["other"]}, Code.PERMISSION_DENIED),
    ],
)
async def test_a_token_that_does_not_reach_is_refused(
    quiet: Node, claims: dict[str, Any], code: Code
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await quiet.upload(claims=claims)
    assert error.value.code() == code


async def test_room_is_reserved_while_an_upload_runs_and_counted_afterwards(
    local_rig: Rig,
) -> None:
    async with local_rig.running(capacity_bytes=10_000_000) as node:
        call = node.open_upload()
        header = Header(original_filename="a", size_bytes=9_000_000)
        await call.write(uploads_pb2.UploadRequest(header=header))
        assert await accepted(call)
        assert (await node.element()).reserved_bytes == 9_000_000
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await node.upload(size_bytes=1_000_000, data=b"x" * 1_000_000)
        assert error.value.code() == Code.RESOURCE_EXHAUSTED
        call.cancel()
        await until(_settled(node))
        await node.upload(data=b"x" * 9_900_000, size_bytes=9_900_000)
        element = await node.element()
        assert element.used_bytes == 9_900_000
        assert element.reserved_bytes == 0
        assert element.file_count == 1
        assert element.fill_level == types_pb2.FILL_LEVEL_FULL
        assert not element.writable
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await node.upload(b"", size_bytes=0)
        assert error.value.code() == Code.RESOURCE_EXHAUSTED


async def test_an_upload_of_unknown_size_stops_where_the_room_ends(local_rig: Rig) -> None:
    async with local_rig.running(capacity_bytes=70 * 1024 * 1024) as node:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await node.upload(noise(68 * 1024 * 1024))
        assert error.value.code() == Code.RESOURCE_EXHAUSTED
        await until(lambda: local_rig.files() == [])


async def test_a_full_disk_is_resource_exhausted_and_leaves_nothing(
    quiet: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async def writable() -> bool:
        return bool((await quiet.element()).writable)

    async def full() -> bool:
        return not await writable()

    with monkeypatch.context() as patch:
        patch.setattr("storage_server.store.durable.append", no_space)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await quiet.upload(noise(CHUNK))
        assert error.value.code() == Code.RESOURCE_EXHAUSTED
        await until(full)
    await until(writable)


@pytest.mark.parametrize(
    "message",
    [
        {"chunk": chunk_of(b"more", 0)},
        {"finish": Finish()},
        {"header": Header(original_filename="b.txt")},
        {},
    ],
    ids=["chunk", "finish", "header", "nothing"],
)
async def test_a_message_after_finish_is_refused_and_nothing_is_stored(
    quiet: Node, message: dict[str, Any]
) -> None:
    call = quiet.open_upload()
    await call.write(uploads_pb2.UploadRequest(header=Header(original_filename="a.txt")))
    assert await accepted(call)
    await call.write(uploads_pb2.UploadRequest(chunk=chunk_of(b"hello", 0)))
    await call.write(uploads_pb2.UploadRequest(finish=Finish()))
    await call.write(uploads_pb2.UploadRequest(**message))
    await call.done_writing()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    assert refused.value.code() is Code.INVALID_ARGUMENT
    assert "finish" in (refused.value.details() or "")


async def test_a_client_that_leaves_its_stream_open_after_finish_is_answered(
    shared_local: Node,
) -> None:
    call = shared_local.open_upload()
    await call.write(uploads_pb2.UploadRequest(header=Header(original_filename="a.txt")))
    assert await accepted(call)
    await call.write(uploads_pb2.UploadRequest(chunk=chunk_of(b"hello", 0)))
    await call.write(uploads_pb2.UploadRequest(finish=Finish()))
    assert (await call).file.size_bytes == 5


@pytest.mark.parametrize(
    ("header", "field"),
    [
        ({"tags": ["good", ""]}, "tags"),
        ({"tags": [" \t"]}, "tags"),
        ({"attributes": {"": "value"}}, "attributes"),
        ({"attributes": {"\u3000": "value"}}, "attributes"),
    ],
)
async def test_labels_that_say_nothing_are_refused_before_any_byte(
    quiet: Node, header: dict[str, Any], field: str
) -> None:
    for attempt in (quiet.upload(**header), quiet.start_upload(**header)):
        ending = await ended(attempt)
        assert (ending.code, ending.field) == (Code.INVALID_ARGUMENT, field)


async def test_doubled_tags_are_one_and_a_repeat_knows_them(shared_local: Node) -> None:
    tags = ["b", "a", "b", "B", "a"]
    first = (await shared_local.upload(tags=tags, request_id="doubled")).file
    assert list(first.tags) == ["b", "a", "B"]
    again = (await shared_local.upload(tags=tags, request_id="doubled")).file
    assert again.file_id == first.file_id
