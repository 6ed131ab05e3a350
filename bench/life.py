"""A file's life: finalizations as users see them, transfers per second, rates of large moves."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc.aio

from artstore.v1 import downloads_pb2, storage_pb2_grpc, types_pb2, uploads_pb2
from artstore_client.transfers import COMPLETED, Transfer
from bench.figures import Figure, Spread, percentile
from bench.meshes import Mesh
from bench.transfer import MIB, OPTIONS

SOURCE, TARGET = "se-01", "se-03"
SMALL_BYTES = 2048
ASKED_AT_ONCE = 16
FLOOR_OF_BARE = 0.7
WARM_UP = 3


async def finalizations(mesh: Mesh, *, files: int, size: int, label: str) -> list[Figure]:
    """Seconds from FinalizeFile through ingest to COMPLETED, one file after the other.

    As the user sees them, by `Client.finalize(wait=True)`; and as the transfer itself tells: what
    lies between is how late the client hears of it.
    """
    await _may_switch(mesh)
    seen, took = [], []
    for number in range(files + WARM_UP):
        uploaded = await mesh.client.upload(os.urandom(size), name=f"finalized-{number}.bin")
        asked = _Asked.now()
        transfer = await mesh.client.finalize(uploaded.file_id, target=TARGET, wait=True)
        seconds = asked.seconds_ago
        if number >= WARM_UP:
            seen.append(seconds)
            took.append(asked.until_end(transfer))
    of = f"finalize {size / MIB:g} MiB through ingest, {label}"
    return [
        Figure(f"{of}, p50, s", Spread.of(seen), None, None, False),
        Figure(f"{of}, p95, s", Spread.of([percentile(seen, 0.95)]), None, None, False),
        Figure(f"{of}, until it has ended, p50, s", Spread.of(took), None, None, False),
    ]


async def small_files(mesh: Mesh, *, files: int, rounds: int, label: str) -> list[Figure]:
    """Transfers per second, from the first that is asked for to the end of the last.

    They are asked for faster than they are done, so they queue.
    """
    await _may_switch(mesh)
    rates: dict[str, list[float]] = {"finalized": [], "moved": []}
    for _ in range(rounds):
        for name, per_second in rates.items():
            per_second.append(await _small_round(mesh, files, moves=name == "moved"))
    return [
        Figure(f"files of 2 kB {name}, {files} asked for at once, {label}, files/s", Spread.of(one))
        for name, one in rates.items()
    ]


async def large_files(mesh: Mesh, *, size: int, rounds: int, label: str) -> list[Figure]:
    """MiB/s of a move, in alternation with a bare Download and Upload of the same file.

    Bare is one process that reads the file at its source and writes it to the target as it comes.
    """
    await _may_switch(mesh)
    rates: dict[str, list[float]] = {"bare": [], "moved": []}
    async with _ends(mesh) as ends:
        for number in range(rounds + 1):
            file_id = await ends.upload(size)
            works: dict[str, Callable[[], Awaitable[float]]] = {
                "bare": partial(ends.relay, file_id, size),
                "moved": partial(_moved, mesh, file_id, size),
            }
            # A moved file's source still gives its bytes, so either may come first.
            order = ("bare", "moved") if number % 2 else ("moved", "bare")
            rate = {name: await works[name]() for name in order}
            if number:  # the first round warms up
                for name, one in rate.items():
                    rates[name].append(one)
    of = f"of {size // MIB} MiB, {label}"
    ratios = [a / b for a, b in zip(rates["moved"], rates["bare"], strict=True)]
    return [
        Figure(f"bare Download + Upload {of}, MiB/s", Spread.of(rates["bare"])),
        Figure(f"MoveFile {of}, MiB/s", Spread.of(rates["moved"])),
        Figure(f"MoveFile, of a bare Download + Upload, {of}", Spread.of(ratios), FLOOR_OF_BARE),
    ]


@dataclass(frozen=True, slots=True)
class _Asked:
    """When something was asked for, by both clocks; the mesh is of this machine."""

    monotonic: float
    wall: float

    @classmethod
    def now(cls) -> _Asked:
        return cls(time.perf_counter(), time.time())

    @property
    def seconds_ago(self) -> float:
        return time.perf_counter() - self.monotonic

    def until_end(self, transfer: Transfer) -> float:
        """Seconds until a transfer ended.

        Raises:
            RuntimeError: it was not COMPLETED.
        """
        if transfer.state != COMPLETED:
            raise RuntimeError(f"the transfer measured was not completed: {transfer}")
        return transfer.ended_at.ToMicroseconds() / 1e6 - self.wall


@dataclass(frozen=True, slots=True)
class _Ends:
    """Source and target of moves, each by a channel of its own."""

    mesh: Mesh
    source: storage_pb2_grpc.StorageServiceAsyncStub
    target: storage_pb2_grpc.StorageServiceAsyncStub

    async def upload(self, size: int) -> str:
        """A permanent file of random bytes at the source; its id."""
        data = os.urandom(size)

        async def chunks() -> AsyncIterator[bytes]:
            for offset in range(0, size, MIB):
                yield data[offset : offset + MIB]

        return await _uploaded(self.source, size, chunks(), await self.mesh.metadata())

    async def relay(self, file_id: str, size: int) -> float:
        """MiB/s of reading a file at the source and writing its bytes to the target."""
        metadata = await self.mesh.metadata()
        started = time.perf_counter()
        call: Any = self.source.Download(
            downloads_pb2.DownloadRequest(file_id=file_id), metadata=metadata
        )

        async def chunks() -> AsyncIterator[bytes]:
            async for part in call:
                if part.HasField("chunk"):
                    yield part.chunk.data

        await _uploaded(self.target, size, chunks(), metadata)
        return size / MIB / (time.perf_counter() - started)


@asynccontextmanager
async def _ends(mesh: Mesh) -> AsyncIterator[_Ends]:
    async with (
        grpc.aio.insecure_channel(mesh.storage[SOURCE], options=OPTIONS) as source,
        grpc.aio.insecure_channel(mesh.storage[TARGET], options=OPTIONS) as target,
    ):
        yield _Ends(
            mesh,
            storage_pb2_grpc.StorageServiceStub(source),
            storage_pb2_grpc.StorageServiceStub(target),
        )


async def _uploaded(stub: Any, size: int, chunks: AsyncIterator[bytes], metadata: Any) -> str:
    request = uploads_pb2.UploadRequest
    call = stub.Upload(metadata=metadata)
    try:
        await call.write(
            request(
                header=uploads_pb2.UploadHeader(
                    original_filename="bench.bin",
                    size_bytes=size,
                    retention_policy=types_pb2.RETENTION_POLICY_PERMANENT,
                )
            )
        )
        await call.initial_metadata()
        offset = 0
        async for data in chunks:
            await call.write(request(chunk=types_pb2.Chunk(offset=offset, data=data)))
            offset += len(data)
        await call.write(request(finish=uploads_pb2.UploadFinish(size_bytes=size)))
        await call.done_writing()
        return str((await call).file.file_id)
    finally:
        call.cancel()


async def _moved(mesh: Mesh, file_id: str, size: int) -> float:
    """MiB/s of a move, from asking for it to its end."""
    asked = _Asked.now()
    transfer = await mesh.client.move(file_id, target=TARGET, wait=True)
    return size / MIB / asked.until_end(transfer)


async def _small_round(mesh: Mesh, files: int, *, moves: bool) -> float:
    slots = asyncio.Semaphore(ASKED_AT_ONCE)

    async def upload(number: int) -> str:
        async with slots:
            data = os.urandom(SMALL_BYTES)
            return (await mesh.client.upload(data, name=f"small-{number}.bin")).file_id

    async def begin(file_id: str) -> Transfer:
        ask = mesh.client.move if moves else mesh.client.finalize
        async with slots:
            return await ask(file_id, target=TARGET)

    file_ids = await asyncio.gather(*(upload(number) for number in range(files)))
    asked = _Asked.now()
    begun = await asyncio.gather(*(begin(file_id) for file_id in file_ids))
    # One after the other: each of them that is asked about costs the mesh a call.
    ended = [await mesh.client.transfers.wait(one) for one in begun]
    return files / max(asked.until_end(one) for one in ended)


async def _may_switch(mesh: Mesh) -> None:
    """Let the time be over in which no file's home is changed, as tables are new."""
    uploaded = await mesh.client.upload(b"x", name="first.bin")
    transfer = await mesh.client.finalize(uploaded.file_id, target=TARGET, wait=True)
    if transfer.state != COMPLETED:
        raise RuntimeError(f"the first transfer was not completed: {transfer}")
