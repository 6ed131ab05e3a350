"""How far the servers' memory grows, and how long their event loops stand, in big transfers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import suppress
from typing import TypeVar

import grpc.aio
import psutil

from artstore.v1 import downloads_pb2, ingest_pb2_grpc, query_pb2_grpc, types_pb2, uploads_pb2
from bench.element import BenchElement
from bench.figures import Figure, Spread
from bench.meshes import Mesh
from bench.metrics import blocked, loop_lag
from bench.transfer import CHUNK_BYTES, MIB, OPTIONS

SAMPLE_SECONDS = 0.05
T = TypeVar("T")


async def growth(mesh: Mesh, *, size: int, label: str) -> list[Figure]:
    """Upload `size` bytes through ingest, download them through query, watch all three.

    Growth is the highest resident size of the transfer less that before it, of a server that
    has moved nothing yet.
    """
    endpoints = {"ingest": mesh.ingest, "query": mesh.query, "se-01": mesh.storage["se-01"]}
    before = {name: await loop_lag(endpoint) for name, endpoint in endpoints.items()}
    processes = {name: mesh.processes[name] for name in endpoints}
    figures = []
    async with BenchElement.of(mesh, "se-01") as element:
        file_id, grown = await watched(processes, _upload(mesh, size))
        figures += grown_by(grown, f"upload of {size // MIB} MiB, {label}")
        await element.settle()
        got, grown = await watched(processes, _download(mesh, file_id))
        if got != size:
            raise RuntimeError(f"{got} of {size} bytes came back")
        figures += grown_by(grown, f"download of {size // MIB} MiB, {label}")
    for name, endpoint in endpoints.items():
        figures += blocked(
            f"{name}, big transfers, {label}", before[name], await loop_lag(endpoint)
        )
    return figures


async def _upload(mesh: Mesh, size: int) -> str:
    request = uploads_pb2.UploadRequest
    data = bytes(CHUNK_BYTES)

    async def parts() -> AsyncIterator[uploads_pb2.UploadRequest]:
        header = uploads_pb2.UploadHeader(original_filename="big.bin", size_bytes=size)
        yield request(header=header)
        for offset in range(0, size, CHUNK_BYTES):
            piece = data[: min(CHUNK_BYTES, size - offset)]
            yield request(chunk=types_pb2.Chunk(offset=offset, data=piece))
        yield request(finish=uploads_pb2.UploadFinish(size_bytes=size))

    async with grpc.aio.insecure_channel(mesh.ingest, options=OPTIONS) as channel:
        ingest: ingest_pb2_grpc.IngestServiceAsyncStub = ingest_pb2_grpc.IngestServiceStub(channel)
        answer = await ingest.Upload(parts(), metadata=await mesh.metadata())
        return answer.file.file_id


async def _download(mesh: Mesh, file_id: str) -> int:
    got = 0
    async with grpc.aio.insecure_channel(mesh.query, options=OPTIONS) as channel:
        query: query_pb2_grpc.QueryServiceAsyncStub = query_pb2_grpc.QueryServiceStub(channel)
        request = downloads_pb2.DownloadRequest(file_id=file_id)
        async for part in query.DownloadFile(request, metadata=await mesh.metadata()):
            got += len(part.chunk.data)
    return got


async def watched(pids: Mapping[str, int], work: Awaitable[T]) -> tuple[T, Mapping[str, float]]:
    """The result of some work, and by how many MiB each process has grown at most meanwhile."""
    processes = {name: psutil.Process(pid) for name, pid in pids.items()}
    before = {name: process.memory_info().rss for name, process in processes.items()}
    highest = dict(before)

    async def sample() -> None:
        while True:
            for name, process in processes.items():
                highest[name] = max(highest[name], process.memory_info().rss)
            await asyncio.sleep(SAMPLE_SECONDS)

    sampling = asyncio.create_task(sample())
    try:
        result = await work
    finally:
        sampling.cancel()
        with suppress(asyncio.CancelledError):
            await sampling
    return result, {name: (highest[name] - before[name]) / MIB for name in pids}


def grown_by(grown: Mapping[str, float], what: str) -> list[Figure]:
    return [
        Figure(f"memory growth, {name}, {what}, MiB", Spread.of([mib]), 200, 64, False)
        for name, mib in grown.items()
    ]
