"""Bad input ends with the status that the contract names, and leaves nothing behind.

Through ingest and directly, in one stream and resumable, on local files and on S3.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import google_crc32c
import grpc
import pytest

from artstore.v1 import ingest_pb2_grpc, storage_pb2, storage_pb2_grpc, types_pb2, uploads_pb2
from tests.faults.stores import Holdings, holdings, nothing_left
from tests.support.caller import INGEST, Caller, Ending, Refused, ended, ending_of, sha256_of
from tests.support.mesh import MeshProcess

CONTENT = bytes(range(256)) * 4096
ELEMENT = "se-01"
OTHER_DIGEST = sha256_of(b"something else")


@pytest.fixture(params=[INGEST, ELEMENT])
def target(request: pytest.FixtureRequest) -> str:
    """Where the upload goes: through ingest, or directly to an element."""
    return str(request.param)


@pytest.fixture
async def before(mesh: MeshProcess, caller: Caller) -> AsyncIterator[Holdings]:
    """What the mesh holds before the test; it holds no more afterwards."""
    found = await holdings(mesh, caller)
    yield found
    await nothing_left(mesh, caller, found)


HEADERS: dict[str, tuple[dict[str, Any], str, str]] = {
    "no name": ({"original_filename": ""}, "INVALID_ARGUMENT", "original_filename"),
    "blank name": ({"original_filename": "  "}, "INVALID_ARGUMENT", "original_filename"),
    "name over 1,024 bytes": (
        {"original_filename": "n" * 1025},
        "INVALID_ARGUMENT",
        "original_filename",
    ),
    "Cyrillic name over 1,024 bytes": (
        {"original_filename": "ы" * 513},
        "INVALID_ARGUMENT",
        "original_filename",
    ),
    "NUL in the name": ({"original_filename": "a\0b"}, "INVALID_ARGUMENT", "original_filename"),
    "NUL in the description": ({"description": "a\0b"}, "INVALID_ARGUMENT", "description"),
    "NUL in a tag": ({"tags": ["a\0b"]}, "INVALID_ARGUMENT", "tags"),
    "NUL in an attribute": ({"attributes": {"k": "\0"}}, "INVALID_ARGUMENT", "attributes"),
    "NUL in the namespace": ({"namespace": "a\0"}, "INVALID_ARGUMENT", "namespace"),
    "NUL in the request_id": ({"request_id": "a\0"}, "INVALID_ARGUMENT", "request_id"),
    "user's part over 3,072 bytes": ({"description": "d" * 3073}, "INVALID_ARGUMENT", ""),
    "many small parts over 3,072 bytes": (
        {"tags": [f"tag number {n:04}" for n in range(300)]},
        "INVALID_ARGUMENT",
        "",
    ),
    "negative size": ({"size_bytes": -1}, "INVALID_ARGUMENT", "size_bytes"),
    "no digest": ({"sha256": "not hex"}, "INVALID_ARGUMENT", "sha256"),
    "digest in capitals": ({"sha256": "A" * 64}, "INVALID_ARGUMENT", "sha256"),
    "negative days": ({"retention_days": -1}, "INVALID_ARGUMENT", "retention_days"),
    "too many days": ({"retention_days": 3_651}, "INVALID_ARGUMENT", "retention_days"),
    "days of a permanent file": (
        {"retention_days": 3, "retention_policy": types_pb2.RETENTION_POLICY_PERMANENT},
        "INVALID_ARGUMENT",
        "retention_days",
    ),
    "request_id over 128 bytes": ({"request_id": "r" * 129}, "INVALID_ARGUMENT", "request_id"),
    "size that fits nowhere": ({"size_bytes": 1 << 50}, "RESOURCE_EXHAUSTED", ""),
}


def starts(caller: Caller, target: str) -> tuple[Any, Any]:
    """StartUpload and its request class."""
    if target == INGEST:
        return caller.ingest.StartUpload, uploads_pb2.StartUploadRequest
    return caller.storage(target).StartUpload, uploads_pb2.StartUploadRequest


async def test_header_is_refused_before_a_byte_is_sent(
    caller: Caller, target: str, before: Holdings
) -> None:
    for case, (said, code, field) in HEADERS.items():
        header = {"original_filename": "bad.bin", **said}
        if target != INGEST and said.get("retention_policy"):
            header["retention_policy"] = types_pb2.RETENTION_POLICY_PERMANENT
        async with caller.upload_to(target) as upload:
            with pytest.raises(Refused) as refused:
                await upload.header(**header)
            assert upload.sent_bytes == 0
        _expect(refused.value.ending, code, field, case)
        start, request = starts(caller, target)
        ending = await ended(
            start(request(header=uploads_pb2.UploadHeader(**header)), **caller.auth)
        )
        _expect(ending, code, field, f"StartUpload: {case}")


def _expect(ending: Ending, code: str, field: str, case: str) -> None:
    assert ending.name == code, f"{case}: {ending}"
    assert ending.seconds < 3, case
    if field:
        assert ending.field.startswith(field), f"{case}: {ending}"


async def _first_error(caller: Caller, target: str, messages: list[Any], **header: Any) -> Ending:
    """Send a good header, then messages as they are, and say how it ended."""
    async with caller.upload_to(target) as upload:
        try:
            await upload.header(original_filename="bad.bin", **header)
            for message in messages:
                await upload.write(**message)
            return Ending(grpc.StatusCode.OK, answer=await upload.answer())
        except grpc.aio.AioRpcError as error:
            return ending_of(error, 0)


def chunk(data: bytes, offset: int = 0, crc32c: int | None = None) -> dict[str, Any]:
    """A chunk as one message."""
    return {"chunk": types_pb2.Chunk(offset=offset, data=data, crc32c=crc32c)}


def finish(**said: Any) -> dict[str, Any]:
    """A finish as one message."""
    return {"finish": uploads_pb2.UploadFinish(**said)}


def header_again() -> dict[str, Any]:
    """A second header."""
    return {"header": uploads_pb2.UploadHeader(original_filename="second.bin")}


BODIES: dict[str, tuple[dict[str, Any], list[dict[str, Any]], str]] = {
    "fewer bytes than the header says": (
        {"size_bytes": len(CONTENT) + 1},
        [chunk(CONTENT), finish()],
        "DATA_LOSS",
    ),
    "more bytes than the header says": (
        {"size_bytes": len(CONTENT) - 1},
        [chunk(CONTENT), finish()],
        "DATA_LOSS",
    ),
    "size that finish does not say": (
        {},
        [chunk(CONTENT), finish(size_bytes=len(CONTENT) + 1)],
        "DATA_LOSS",
    ),
    "digest that the header does not say": (
        {"sha256": OTHER_DIGEST},
        [chunk(CONTENT), finish()],
        "DATA_LOSS",
    ),
    "digest that finish does not say": (
        {},
        [chunk(CONTENT), finish(sha256=OTHER_DIGEST)],
        "DATA_LOSS",
    ),
    "digest that is none in finish": (
        {},
        [chunk(CONTENT), finish(sha256="abc")],
        "INVALID_ARGUMENT",
    ),
    "wrong crc32c": (
        {},
        [chunk(CONTENT, crc32c=google_crc32c.value(CONTENT) ^ 1), finish()],
        "DATA_LOSS",
    ),
    "gap": ({}, [chunk(CONTENT), chunk(CONTENT, len(CONTENT) + 1), finish()], "OUT_OF_RANGE"),
    "first chunk not at 0": ({}, [chunk(CONTENT, 1), finish()], "OUT_OF_RANGE"),
    "chunk again": ({}, [chunk(CONTENT), chunk(CONTENT), finish()], "OUT_OF_RANGE"),
    "chunk over 2 MiB": ({}, [chunk(bytes(2 * 2**20 + 1)), finish()], "RESOURCE_EXHAUSTED"),
    "second header": ({}, [chunk(CONTENT), header_again(), finish()], "INVALID_ARGUMENT"),
    "empty message": ({}, [chunk(CONTENT), {}, finish()], "INVALID_ARGUMENT"),
}


@pytest.mark.parametrize("case", BODIES)
async def test_bytes_that_are_not_as_declared_leave_nothing(
    caller: Caller, target: str, before: Holdings, case: str
) -> None:
    header, messages, code = BODIES[case]
    ending = await _first_error(caller, target, messages, **header)
    assert ending.name == code, ending


async def test_message_over_4_mib_is_refused(caller: Caller, target: str, before: Holdings) -> None:
    ending = await asyncio.to_thread(_send_five_mebibytes, caller, target)
    assert ending.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def _send_five_mebibytes(caller: Caller, target: str) -> grpc.RpcError:
    """By a synchronous stub: the asynchronous one loses a status that core itself gives."""
    at_ingest = target == INGEST
    request = uploads_pb2.UploadRequest
    endpoints = caller.file.endpoints
    endpoint = endpoints[INGEST] if at_ingest else endpoints["storage"][target]
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(endpoint, options=options) as channel:
        make = (
            ingest_pb2_grpc.IngestServiceStub if at_ingest else storage_pb2_grpc.StorageServiceStub
        )
        messages = [
            request(header=uploads_pb2.UploadHeader(original_filename="bad.bin")),
            request(chunk=types_pb2.Chunk(data=bytes(5 * 2**20))),
        ]
        with pytest.raises(grpc.RpcError) as refused:
            make(channel).Upload(iter(messages), metadata=caller.metadata, timeout=20)
        return refused.value


async def test_stream_that_does_not_begin_with_a_header_is_refused(
    caller: Caller, target: str, before: Holdings
) -> None:
    for first in (chunk(CONTENT), finish(), {}):
        async with caller.upload_to(target) as upload:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                with contextlib.suppress(grpc.aio.UsageError):
                    await upload.write(**first)
                await upload.answer()
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_message_that_is_no_utf8_or_no_protobuf_is_refused(
    caller: Caller, target: str, before: Holdings
) -> None:
    service = "IngestService" if target == INGEST else "StorageService"
    method = caller.channel(target).stream_unary(f"/artstore.v1.{service}/Upload")
    for raw in (b"\x0a\x04\x0a\x02\xff\xfe", b"\xff\xff\xff\xff"):

        async def messages(content: bytes = raw) -> AsyncIterator[bytes]:
            yield content

        ending = await ended(method(messages(), metadata=caller.metadata, timeout=10))
        assert ending.name == "INVALID_ARGUMENT", ending
    method = caller.channel(ELEMENT).unary_unary("/artstore.v1.StorageService/GetFile")
    assert (await ended(method(b"\xff", metadata=caller.metadata))).name == "INVALID_ARGUMENT"
    assert (await ended(method(b"\xff"))).name == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    "name",
    [
        "отчёт за квартал.pdf",
        "ы" * 512,
        "🗄️ архив 🧾.tar.gz",
        "../../../etc/passwd",
        "..",
        "/",
        "a/../../b\\c:d*e?f.txt",
        ".pdf",
        "line\nbreak\t\x1b[31m.txt",
        "x." + "e" * 300,
    ],
    ids=[
        "cyrillic",
        "long-cyrillic",
        "emoji",
        "upwards",
        "dots",
        "slash",
        "forbidden",
        "no-stem",
        "control",
        "long-extension",
    ],
)
async def test_strange_names_are_kept_and_stay_in_their_folder(
    mesh: MeshProcess, caller: Caller, target: str, name: str
) -> None:
    before = await holdings(mesh, caller)
    file = await caller.put(b"strange", name, target=target)
    assert file.original_filename == name
    assert len(file.storage_filename.encode()) <= 200
    assert not set(file.storage_filename) & set('<>:"/\\|?*\0\n\t\x1b')
    new = (await holdings(mesh, caller)).beyond(before)["objects"]
    blob = f"storage_element_01/{file.storage_path}/{file.storage_filename}"
    assert new == [blob, f"{blob}.attr.json"]
    assert (await caller.get(ELEMENT, file.file_id)).original_filename == name
    assert await caller.read(ELEMENT, file.file_id) == b"strange"


async def test_empty_file_is_a_file(caller: Caller, target: str) -> None:
    file = await caller.put(b"", "empty.bin", target=target)
    assert (file.size_bytes, file.sha256) == (0, sha256_of(b""))
    assert await caller.read(ELEMENT, file.file_id) == b""


class Resumable:
    """One resumable upload, call by call, through ingest or directly."""

    def __init__(self, caller: Caller, target: str) -> None:
        at_ingest = target == INGEST
        self._caller = caller
        self._stub = caller.ingest if at_ingest else caller.storage(target)
        self.upload_id = ""
        self.token = ""

    async def start(self, **header: Any) -> None:
        """StartUpload."""
        said = uploads_pb2.UploadHeader(original_filename="resumable.bin", **header)
        answer = await self._call("StartUpload", header=said)
        self.upload_id, self.token = answer.upload_id, answer.upload_token

    async def _call(self, verb: str, **said: Any) -> Any:
        request = getattr(uploads_pb2, f"{verb}Request")(**said)
        return await getattr(self._stub, verb)(request, metadata=self._metadata, timeout=20)

    @property
    def _metadata(self) -> tuple[tuple[str, str], ...]:
        token = (("artstore-upload-token", self.token),) if self.token else ()
        return (*self._caller.metadata, *token)

    async def write(self, *chunks: types_pb2.Chunk) -> int:
        """WriteUpload of some chunks."""
        request = uploads_pb2.WriteUploadRequest

        async def messages() -> AsyncIterator[Any]:
            yield request(upload_id=self.upload_id)
            for part in chunks:
                yield request(chunk=part)

        call = self._stub.WriteUpload(messages(), metadata=self._metadata, timeout=20)
        return int((await call).committed_size_bytes)

    async def size(self) -> int:
        """GetUpload."""
        return int((await self._call("GetUpload", upload_id=self.upload_id)).committed_size_bytes)

    async def commit(self, **said: Any) -> Any:
        """CommitUpload."""
        return (await self._call("CommitUpload", upload_id=self.upload_id, **said)).file

    async def abort(self) -> None:
        """AbortUpload."""
        await self._call("AbortUpload", upload_id=self.upload_id)


async def test_resumable_upload_survives_bad_chunks_and_commits(
    mesh: MeshProcess, caller: Caller, target: str
) -> None:
    good = types_pb2.Chunk(data=CONTENT, crc32c=google_crc32c.value(CONTENT))
    wrong = types_pb2.Chunk(data=CONTENT, crc32c=good.crc32c ^ 1)
    upload = Resumable(caller, target)
    await upload.start(sha256=sha256_of(CONTENT))
    assert (await ended(upload.write(wrong))).name == "DATA_LOSS"
    gap = types_pb2.Chunk(offset=len(CONTENT), data=CONTENT)
    assert (await ended(upload.write(gap))).name == "OUT_OF_RANGE"
    huge = types_pb2.Chunk(data=bytes(2 * 2**20 + 1))
    assert (await ended(upload.write(huge))).name == "RESOURCE_EXHAUSTED"
    await upload.write(good)
    assert (await ended(upload.commit(size_bytes=len(CONTENT) + 1))).name == "OUT_OF_RANGE"
    assert (await ended(upload.commit(size_bytes=len(CONTENT) - 1))).name == "DATA_LOSS"
    assert (await ended(upload.commit(sha256=OTHER_DIGEST))).name == "DATA_LOSS"
    assert (await ended(upload.commit(sha256="x"))).name == "INVALID_ARGUMENT"
    # Bytes may be sent again, also when the store had sealed them.
    await upload.write(good)
    file = await upload.commit(size_bytes=len(CONTENT), sha256=sha256_of(CONTENT))
    assert (await upload.commit()).file_id == file.file_id
    assert await caller.read(ELEMENT, file.file_id) == CONTENT


async def test_wrong_commit_then_abort_leaves_nothing(
    caller: Caller, target: str, before: Holdings
) -> None:
    upload = Resumable(caller, target)
    await upload.start(size_bytes=len(CONTENT), sha256=OTHER_DIGEST)
    await upload.write(types_pb2.Chunk(data=CONTENT))
    assert (await ended(upload.commit())).name == "DATA_LOSS"
    token, upload.token = upload.token, "wrong"
    assert (await ended(upload.size())).name == "PERMISSION_DENIED"
    upload.token = ""
    assert (await ended(upload.abort())).name == "PERMISSION_DENIED"
    upload.token = token
    await upload.abort()
    await upload.abort()
    assert (await ended(upload.size())).name == "NOT_FOUND"
    assert (await ended(upload.write())).name == "NOT_FOUND"


@pytest.mark.parametrize(
    "file_id",
    ["", "../x", "no id", "0" * 36, "A" * 10_000, "a\0b"],
    ids=["empty", "path", "words", "zeros", "long", "nul"],
)
async def test_ids_that_are_none_are_not_found(caller: Caller, file_id: str) -> None:
    storage = caller.storage(ELEMENT)
    calls = [
        storage.GetFile(storage_pb2.StorageServiceGetFileRequest(file_id=file_id), **caller.auth),
        storage.UpdateFile(storage_pb2.UpdateFileRequest(file_id=file_id), **caller.auth),
        storage.DeleteFile(storage_pb2.DeleteFileRequest(file_id=file_id), **caller.auth),
        storage.UndeleteFile(storage_pb2.UndeleteFileRequest(file_id=file_id), **caller.auth),
    ]
    for call in calls:
        assert (await ended(call)).name in {"NOT_FOUND", "INVALID_ARGUMENT"}
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await caller.read(ELEMENT, file_id)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
