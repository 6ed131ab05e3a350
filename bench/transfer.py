"""Upload and download throughput: direct, through ingest, a bare stream, BuildGrid."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc.aio

from artstore.v1 import downloads_pb2, ingest_pb2_grpc, storage_pb2_grpc, types_pb2, uploads_pb2
from bench.figures import Figure, Spread
from bench.meshes import Mesh
from bench.peers.bytestream import WRITE, WriteRequest, WriteResponse
from bench.peers.processes import bare_server, buildgrid

CHUNK_BYTES = 512 * 1024
OPTIONS = (
    ("grpc.max_receive_message_length", 8 * 1024 * 1024),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1024 * 1024),
)
MIB = 1024 * 1024


def _parts(make: Any, data: memoryview) -> list[Any]:
    parts = [
        make(header=uploads_pb2.UploadHeader(original_filename="bench.bin", size_bytes=len(data)))
    ]
    for offset in range(0, len(data), CHUNK_BYTES):
        chunk = types_pb2.Chunk(offset=offset, data=bytes(data[offset : offset + CHUNK_BYTES]))
        parts.append(make(chunk=chunk))
    parts.append(make(finish=uploads_pb2.UploadFinish(size_bytes=len(data))))
    return parts


async def _gated(stub_method: Any, parts: list[Any], metadata: Any) -> Any:
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


async def _bare(stub_method: Any, parts: list[Any]) -> None:
    call = stub_method()
    for part in parts:
        await call.write(part)
    await call.done_writing()
    await call


async def _bytestream(channel: grpc.aio.Channel, data: memoryview, name: str) -> None:
    write = channel.stream_unary(
        WRITE,
        request_serializer=WriteRequest.SerializeToString,
        response_deserializer=WriteResponse.FromString,
    )

    async def requests() -> AsyncIterator[Any]:
        for offset in range(0, len(data), CHUNK_BYTES):
            piece = bytes(data[offset : offset + CHUNK_BYTES])
            yield WriteRequest(
                resource_name=name if offset == 0 else "",
                write_offset=offset,
                finish_write=offset + len(piece) == len(data),
                data=piece,
            )

    answer = await write(requests())
    assert answer.committed_size == len(data), answer


async def _rate(size: int, work: Callable[[], Awaitable[Any]]) -> float:
    started = time.perf_counter()
    await work()
    return size / MIB / (time.perf_counter() - started)


async def uploads(mesh: Mesh, *, size: int, rounds: int, folder: Path, label: str) -> list[Figure]:
    """Rates of alternating rounds, as ratios to the bare stream and to BuildGrid."""
    rates: dict[str, list[float]] = {"bare": [], "direct": [], "ingest": [], "buildgrid": []}
    with bare_server() as bare_at, buildgrid(folder / "buildgrid") as grid_at:
        async with (
            grpc.aio.insecure_channel(bare_at, options=OPTIONS) as bare_channel,
            grpc.aio.insecure_channel(grid_at, options=OPTIONS) as grid_channel,
            grpc.aio.insecure_channel(mesh.storage["se-01"], options=OPTIONS) as direct_channel,
            grpc.aio.insecure_channel(mesh.ingest, options=OPTIONS) as ingest_channel,
        ):
            bare = storage_pb2_grpc.StorageServiceStub(bare_channel)
            direct = storage_pb2_grpc.StorageServiceStub(direct_channel)
            ingest = ingest_pb2_grpc.IngestServiceStub(ingest_channel)
            for number in range(rounds + 1):
                data = memoryview(os.urandom(size))
                digest = hashlib.sha256(data).hexdigest()
                storage_parts = _parts(uploads_pb2.UploadRequest, data)
                ingest_parts = _parts(uploads_pb2.UploadRequest, data)
                metadata = await mesh.metadata()
                blob = f"uploads/{digest[:32]}/blobs/{digest}/{len(data)}"
                works: dict[str, Callable[[], Awaitable[Any]]] = {
                    "bare": partial(_bare, bare.Upload, storage_parts),
                    "direct": partial(_gated, direct.Upload, storage_parts, metadata),
                    "ingest": partial(_gated, ingest.Upload, ingest_parts, metadata),
                    "buildgrid": partial(_bytestream, grid_channel, data, blob),
                }
                for name, work in works.items():
                    rate = await _rate(size, work)
                    if number:  # the first round warms up
                        rates[name].append(rate)
    return _upload_figures(rates, label)


def _upload_figures(rates: dict[str, list[float]], label: str) -> list[Figure]:
    def ratio(one: str, other: str) -> Spread:
        pairs = zip(rates[one], rates[other], strict=True)
        return Spread.of([a / b for a, b in pairs])

    grid_floor = 1.0 if label == "disk" else 2.0
    return [
        *(
            Figure(f"upload, {name}, {label}, MiB/s", Spread.of(values))
            for name, values in rates.items()
        ),
        Figure(f"upload direct of a bare stream, {label}", ratio("direct", "bare"), 0.4, 0.6),
        Figure(
            f"upload through ingest of a bare stream, {label}", ratio("ingest", "bare"), 0.25, 0.4
        ),
        Figure(
            f"upload direct of BuildGrid's ByteStream, {label}",
            ratio("direct", "buildgrid"),
            grid_floor,
            3.0,
        ),
    ]


async def downloads(mesh: Mesh, *, size: int, rounds: int) -> list[Figure]:
    """The rate of a download against a bare stream from memory."""
    rates: dict[str, list[float]] = {"bare": [], "artstore": []}
    with bare_server() as bare_at:
        async with (
            grpc.aio.insecure_channel(bare_at, options=OPTIONS) as bare_channel,
            grpc.aio.insecure_channel(mesh.storage["se-01"], options=OPTIONS) as channel,
        ):
            bare = storage_pb2_grpc.StorageServiceStub(bare_channel)
            element = storage_pb2_grpc.StorageServiceStub(channel)
            parts = _parts(uploads_pb2.UploadRequest, memoryview(os.urandom(size)))
            uploaded = await _gated(element.Upload, parts, await mesh.metadata())
            file_id = uploaded.file.file_id
            for number in range(rounds + 1):
                metadata = await mesh.metadata()
                request = downloads_pb2.DownloadRequest(file_id=file_id, length=size)
                for name, stub, extra in (("bare", bare, ()), ("artstore", element, metadata)):
                    rate = await _rate(size, partial(_read, stub, request, extra))
                    if number:
                        rates[name].append(rate)
    pairs = zip(rates["artstore"], rates["bare"], strict=True)
    return [
        *(Figure(f"download, {name}, MiB/s", Spread.of(values)) for name, values in rates.items()),
        Figure("download of a bare stream", Spread.of([a / b for a, b in pairs]), 0.6, 0.8),
    ]


async def _read(stub: Any, request: Any, metadata: Any) -> int:
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
            parts = _parts(uploads_pb2.UploadRequest, data)
            started = time.perf_counter()
            await _gated(ingest.Upload, parts, await mesh.metadata())
            if number > 1:
                seconds.append(time.perf_counter() - started)
    return [Figure("10 MiB through ingest, s", Spread.of(seconds), 0.3, 0.1, False)]
