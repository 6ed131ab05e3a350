"""What the store's port promises, as a client of the service meets it, by synchronous stubs."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Iterator

import grpc

from artstore.v1 import downloads_pb2, storage_pb2, storage_pb2_grpc, uploads_pb2
from tests.support.storage_rig import CHUNK, Metadata, Node, chunk_of

SIZE = 9 * 1024 * 1024 + 17
RANGES = [
    (0, 0),
    (0, 1),
    (1, CHUNK),
    (CHUNK - 1, 2),
    (SIZE - 1, 0),
    (SIZE, 0),
    (CHUNK, SIZE),
]


def _upload(stub: storage_pb2_grpc.StorageServiceStub, metadata: Metadata, data: bytes) -> str:
    def requests() -> Iterator[uploads_pb2.UploadRequest]:
        header = uploads_pb2.UploadHeader(original_filename="a.bin", size_bytes=len(data))
        yield uploads_pb2.UploadRequest(header=header)
        for at in range(0, len(data), CHUNK):
            yield uploads_pb2.UploadRequest(chunk=chunk_of(data, at))
        digest = hashlib.sha256(data).hexdigest()
        yield uploads_pb2.UploadRequest(finish=uploads_pb2.UploadFinish(sha256=digest))

    file = stub.Upload(requests(), metadata=metadata, timeout=30).file
    assert file.sha256 == hashlib.sha256(data).hexdigest()
    return str(file.file_id)


def _download(
    stub: storage_pb2_grpc.StorageServiceStub,
    metadata: Metadata,
    file_id: str,
    offset: int,
    length: int,
) -> bytes:
    request = downloads_pb2.DownloadRequest(file_id=file_id, offset=offset, length=length or None)
    return b"".join(
        part.chunk.data for part in stub.Download(request, metadata=metadata, timeout=30)
    )


def _round_trip(endpoint: str, metadata: Metadata) -> None:
    data = random.Random(1).randbytes(SIZE)
    with grpc.insecure_channel(endpoint) as channel:
        stub = storage_pb2_grpc.StorageServiceStub(channel)
        file_id = _upload(stub, metadata, data)
        for offset, length in RANGES:
            end = offset + length if length else SIZE
            assert _download(stub, metadata, file_id, offset, length) == data[offset:end]
        empty = _upload(stub, metadata, b"")
        assert _download(stub, metadata, empty, 0, 0) == b""
        stub.DeleteFile(
            storage_pb2.DeleteFileRequest(file_id=file_id), metadata=metadata, timeout=10
        )
        stub.UndeleteFile(
            storage_pb2.UndeleteFileRequest(file_id=file_id), metadata=metadata, timeout=10
        )
        assert _download(stub, metadata, file_id, 0, 0) == data


async def test_bytes_and_ranges_are_exact(element: Node) -> None:
    await asyncio.to_thread(_round_trip, f"localhost:{element.server.port}", element.bearer())


def _resumed(endpoint: str, metadata: Metadata, token_metadata: Metadata) -> None:
    data = random.Random(2).randbytes(SIZE)
    with grpc.insecure_channel(endpoint) as channel:
        stub = storage_pb2_grpc.StorageServiceStub(channel)
        header = uploads_pb2.UploadHeader(original_filename="a.bin")
        opened = stub.StartUpload(
            uploads_pb2.StartUploadRequest(header=header), metadata=metadata, timeout=10
        )
        own = (*token_metadata, ("artstore-upload-token", opened.upload_token))
        get = uploads_pb2.GetUploadRequest(upload_id=opened.upload_id)
        for end in (SIZE // 3, SIZE - 1, SIZE):
            at = stub.GetUpload(get, metadata=own, timeout=10).committed_size_bytes
            first = [uploads_pb2.WriteUploadRequest(upload_id=opened.upload_id)]
            parts = [
                uploads_pb2.WriteUploadRequest(chunk=chunk_of(data[:end], start))
                for start in range(at, end, CHUNK)
            ]
            stub.WriteUpload(iter(first + parts), metadata=own, timeout=30)
        commit = uploads_pb2.CommitUploadRequest(upload_id=opened.upload_id, size_bytes=SIZE)
        file = stub.CommitUpload(commit, metadata=own, timeout=30).file
        assert _download(stub, metadata, file.file_id, 0, 0) == data


async def test_an_upload_in_several_streams_is_whole(element: Node) -> None:
    await asyncio.to_thread(
        _resumed,
        f"localhost:{element.server.port}",
        element.bearer(),
        element.bearer(role="USER"),
    )
