"""GetFile from the cache against a bare unary call, and its latency at a steady rate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio

from artstore.v1 import storage_pb2, storage_pb2_grpc
from bench.figures import Figure, Spread, percentile
from bench.meshes import Mesh
from bench.peers.processes import bare_server

CALLS = 1000


async def get_file(mesh: Mesh, file_id: str, *, rounds: int) -> list[Figure]:
    """Calls a second of one caller, as a ratio; p99 at 100 a second."""
    rates: dict[str, list[float]] = {"bare": [], "artstore": []}
    request = storage_pb2.StorageServiceGetFileRequest(file_id=file_id)
    with bare_server() as peer:
        async with (
            grpc.aio.insecure_channel(peer.address) as bare_channel,
            grpc.aio.insecure_channel(mesh.storage["se-01"]) as channel,
        ):
            bare = storage_pb2_grpc.StorageServiceStub(bare_channel)
            element = storage_pb2_grpc.StorageServiceStub(channel)
            for number in range(rounds + 1):
                metadata = await mesh.metadata()
                for name, stub, extra in (("bare", bare, ()), ("artstore", element, metadata)):
                    started = time.perf_counter()
                    for _ in range(CALLS):
                        await stub.GetFile(request, metadata=extra)
                    if number:
                        rates[name].append(CALLS / (time.perf_counter() - started))
            latencies = await at_steady_rate(
                lambda: element.GetFile(request, metadata=metadata), per_second=100, seconds=10
            )
    pairs = zip(rates["artstore"], rates["bare"], strict=True)
    ratio = Spread.of([a / b for a, b in pairs])
    return [
        *(Figure(f"GetFile, {name}, calls/s", Spread.of(values)) for name, values in rates.items()),
        Figure("GetFile from cache of a bare unary call", ratio, 0.3, 0.6),
        Figure(
            "GetFile p99 at 100/s, s", Spread.of([percentile(latencies, 0.99)]), 0.03, None, False
        ),
    ]


async def at_steady_rate(
    call: Callable[[], Awaitable[Any]], *, per_second: float, seconds: float
) -> list[float]:
    """Latencies in seconds of calls begun at a steady rate, whether earlier ones ended or not."""
    latencies: list[float] = []

    async def one(due: float) -> None:
        await call()
        latencies.append(time.perf_counter() - due)

    begin = time.perf_counter()
    tasks = []
    for number in range(int(per_second * seconds)):
        due = begin + number / per_second
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(due)))
    await asyncio.gather(*tasks)
    return latencies
