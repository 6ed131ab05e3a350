"""Downloads against a bare stream, small uploads, and what sends a stream."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import grpc.aio

from artstore.v1 import downloads_pb2, ingest_pb2_grpc, storage_pb2_grpc, types_pb2, uploads_pb2
from bench.figures import Figure, Spread
from bench.meshes import Mesh
from bench.peers.processes import bare_server

CHUNK_BYTES = 512 * 1024
OPTIONS = (
    ("grpc.max_receive_message_length", 8 * 1024 * 1024),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1024 * 1024),
)
MIB = 1024 * 1024


def parts_of(make: Any, data: memoryview, chunk_bytes: int = CHUNK_BYTES) -> list[Any]:
    """The messages of an upload."""
    parts = [
        make(header=uploads_pb2.UploadHeader(original_filename="bench.bin", size_bytes=len(data)))
    ]
    for offset in range(0, len(data), chunk_bytes):
        chunk = types_pb2.Chunk(offset=offset, data=bytes(data[offset : offset + chunk_bytes]))
        parts.append(make(chunk=chunk))
    parts.append(make(finish=uploads_pb2.UploadFinish(size_bytes=len(data))))
    return parts


async def gated(stub_method: Any, parts: list[Any], metadata: Any) -> Any:
    """Send the header, wait until it is accepted, send the rest."""
    call = stub_method(metadata=metadata)
    try:
        await call.write(parts[0])
        await call.initial_metadata()
        for part in parts[1:]:
            await call.write(part)
        await call.done_writing()
        return await call
    finally:
        call.cancel()


async def rate_of(size: int, work: Callable[[], Awaitable[Any]]) -> float:
    """MiB/s."""
    started = time.perf_counter()
    await work()
    return size / MIB / (time.perf_counter() - started)


async def downloads(mesh: Mesh, *, size: int, rounds: int) -> list[Figure]:
    """The rate of a download against a bare stream from memory."""
    rates: dict[str, list[float]] = {"bare": [], "artstore": []}
    with bare_server(mesh.tree.malloc_of(mesh.processes["se-01"])) as peer:
        async with (
            grpc.aio.insecure_channel(peer.address, options=OPTIONS) as bare_channel,
            grpc.aio.insecure_channel(mesh.storage["se-01"], options=OPTIONS) as channel,
        ):
            bare = storage_pb2_grpc.StorageServiceStub(bare_channel)
            element = storage_pb2_grpc.StorageServiceStub(channel)
            parts = parts_of(uploads_pb2.UploadRequest, memoryview(os.urandom(size)))
            uploaded = await gated(element.Upload, parts, await mesh.metadata())
            file_id = uploaded.file.file_id
            for number in range(rounds + 1):
                metadata = await mesh.metadata()
                request = downloads_pb2.DownloadRequest(file_id=file_id, length=size)
                for name, stub, extra in (("bare", bare, ()), ("artstore", element, metadata)):
                    rate = await rate_of(size, partial(read_all, stub, request, extra))
                    if number:
                        rates[name].append(rate)
    pairs = zip(rates["artstore"], rates["bare"], strict=True)
    return [
        *(Figure(f"download, {name}, MiB/s", Spread.of(values)) for name, values in rates.items()),
        Figure("download of a bare stream", Spread.of([a / b for a, b in pairs]), 0.9, 1.3),
    ]


async def read_all(stub: Any, request: Any, metadata: Any) -> int:
    """Download and throw away; how many bytes came."""
    size = 0
    async for part in stub.Download(request, metadata=metadata):
        size += len(part.chunk.data)
    return size


async def small_uploads(mesh: Mesh, *, rounds: int) -> list[Figure]:
    """10 MiB through ingest, in seconds."""
    seconds = []
    async with grpc.aio.insecure_channel(mesh.ingest, options=OPTIONS) as channel:
        ingest = ingest_pb2_grpc.IngestServiceStub(channel)
        for number in range(rounds + 2):
            data = memoryview(os.urandom(10 * MIB))
            parts = parts_of(uploads_pb2.UploadRequest, data)
            started = time.perf_counter()
            await gated(ingest.Upload, parts, await mesh.metadata())
            if number > 1:
                seconds.append(time.perf_counter() - started)
    return [Figure("10 MiB through ingest, s", Spread.of(seconds), 0.15, 0.04, False)]
