"""Uploads: rates against peers in turns, and the processor time of each process for a MiB."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc.aio

from artstore.v1 import ingest_pb2_grpc, storage_pb2_grpc, uploads_pb2
from bench.figures import Figure, Results, Spread, ratios
from bench.goals import ROWS
from bench.meshes import Mesh
from bench.peers.bytestream import WRITE, WriteRequest, WriteResponse
from bench.peers.processes import bare_server, buildgrid, has_buildgrid
from bench.processor import (
    SHA256_AT,
    Used,
    Watched,
    sha256_of_machine,
)
from bench.transfer import MIB, OPTIONS, gated, parts_of, rate_of

ELEMENT = "se-01"
IN_MEMORY, ON_DISK = "in memory", "on disk"
SENDER = "sender"
# Whose processor time is shown, of each kind of upload.
_SHOWN = {
    "direct": (ELEMENT, "postgres", "valkey", SENDER),
    "ingest": ("ingest", ELEMENT, "postgres", "valkey", "admin"),
    "bare": ("bare", SENDER),
    "bare untuned": ("bare untuned",),
    "buildgrid": ("buildgrid",),
    "client": ("client", "ingest", ELEMENT),
}
Work = Callable[[], Awaitable[Any]]


@dataclass(slots=True)
class _Measured:
    """Of one kind of upload, a value a round."""

    rates: list[float] = field(default_factory=list)
    used: list[Mapping[str, Used]] = field(default_factory=list)

    def microseconds(self, name: str, mib: float) -> list[float]:
        return [one[name].microseconds_each(mib) for one in self.used]

    def faults(self, name: str, mib: float) -> list[float]:
        return [one[name].faults / mib for one in self.used]


async def uploads(
    results: Results, mesh: Mesh, *, size: int, rounds: int, folder: Path, where: str
) -> None:
    """Alternating rounds of one file: direct, through ingest, by the client library, and peers."""
    malloc = mesh.tree.malloc_of(mesh.processes[ELEMENT])
    sha256 = [await sha256_of_machine()]
    async with AsyncExitStack() as stack:
        ways = await _Ways.opened(stack, mesh, folder, malloc)
        measured = {name: _Measured() for name in ways.works(memoryview(b""), ())}
        for number in range(rounds + 1):
            data = memoryview(os.urandom(size))
            works = ways.works(data, await mesh.metadata())
            ways.file.write_bytes(data)
            for name in list(works)[:: 1 if number % 2 else -1]:
                watched = Watched(ways.processes)
                with watched.during():
                    rate = await rate_of(size, works[name])
                if number:  # the first round warms up
                    measured[name].rates.append(rate)
                    measured[name].used.append(watched.used)
            sha256.append(await sha256_of_machine(1))
    results.parameters["malloc of servers and peers"] = _as_text(malloc)
    results.parameters["malloc of the sender and the client library"] = "none"
    results.parameters["chunks of all"] = f"{mesh.tree.chunk_bytes // 1024} KiB"
    results.parameters["SHA-256, us/MiB"] = f"{Spread.of(sha256).median:.0f}"
    results.figures += _of_contract(measured, size / MIB, where, Spread.of(sha256).median)
    results.figures += _beside(measured, size / MIB, where)
    results.figures.append(await _by_command(mesh, folder, size, rounds, where))


def _as_text(malloc: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in malloc.items()) or "none"


@dataclass(frozen=True, slots=True)
class _Ways:
    """The stubs and processes of each kind of upload.

    Attributes:
        processes: pid of each process that may be at work.
        file: what the client library uploads.
    """

    bare: Mapping[str, Any]
    ours: Mapping[str, Any]
    grid: grpc.aio.Channel | None
    client: Process
    processes: Mapping[str, int]
    file: Path
    chunk_bytes: int

    @classmethod
    async def opened(
        cls, stack: AsyncExitStack, mesh: Mesh, folder: Path, malloc: Mapping[str, str]
    ) -> _Ways:
        async def channel(address: str) -> grpc.aio.Channel:
            opened = grpc.aio.insecure_channel(address, options=OPTIONS)
            return await stack.enter_async_context(opened)

        peers = {"bare": stack.enter_context(bare_server(malloc))}
        if malloc:
            peers["bare untuned"] = stack.enter_context(bare_server())
        bare = {
            name: storage_pb2_grpc.StorageServiceStub(await channel(peer.address))
            for name, peer in peers.items()
        }
        grid = None
        if has_buildgrid():
            peers["buildgrid"] = stack.enter_context(buildgrid(folder / "buildgrid", malloc))
            grid = await channel(peers["buildgrid"].address)
        file = folder / "uploaded.bin"
        stack.callback(file.unlink, missing_ok=True)
        client = await stack.enter_async_context(_library(mesh, file))
        return cls(
            bare,
            {
                "direct": storage_pb2_grpc.StorageServiceStub(await channel(mesh.storage[ELEMENT])),
                "ingest": ingest_pb2_grpc.IngestServiceStub(await channel(mesh.ingest)),
            },
            grid,
            client,
            {
                **mesh.processes,
                **{name: peer.pid for name, peer in peers.items()},
                "client": client.pid,
                SENDER: os.getpid(),
            },
            file,
            mesh.tree.chunk_bytes,
        )

    def works(self, data: memoryview, metadata: Any) -> dict[str, Work]:
        """One upload of each kind of the same bytes."""
        parts = parts_of(uploads_pb2.UploadRequest, data, self.chunk_bytes)
        works: dict[str, Work] = {
            name: partial(_bare, stub.Upload, parts) for name, stub in self.bare.items()
        }
        for name, stub in self.ours.items():
            works[name] = partial(gated, stub.Upload, parts, metadata)
        if self.grid is not None:
            digest = hashlib.sha256(data).hexdigest()
            name = f"uploads/{digest[:32]}/blobs/{digest}/{len(data)}"
            works["buildgrid"] = partial(_bytestream, self.grid, data, name, self.chunk_bytes)
        works["client"] = partial(_by_library, self.client)
        return works


@asynccontextmanager
async def _library(mesh: Mesh, file: Path) -> AsyncIterator[Process]:
    process = await create_subprocess_exec(
        mesh.tree.python,
        "-P",
        str(Path(__file__).parent / "peers" / "uploader.py"),
        str(mesh.mesh_file),
        str(file),
        stdin=PIPE,
        stdout=PIPE,
        env=mesh.tree.environment(),
    )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


async def _by_library(process: Process) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"\n")
    if not await process.stdout.readline():
        raise RuntimeError("the client library's process ended")


async def _by_command(mesh: Mesh, folder: Path, size: int, rounds: int, where: str) -> Figure:
    """What `artstore put` takes beyond its start, for which a file of one byte stands."""
    file = folder / "put.bin"
    took = []
    try:
        for _ in range(rounds):
            used = []
            for data in (b"x", os.urandom(size)):
                file.write_bytes(data)
                used.append(await asyncio.to_thread(_put, mesh, file))
            took.append((used[1] - used[0]).microseconds_each(size / MIB))
    finally:
        file.unlink(missing_ok=True)
    name = f"upload, `artstore put`, {where}: command without its start, us/MiB"
    return Figure(name, Spread.of(took))


def _put(mesh: Mesh, file: Path) -> Used:
    program = "from artstore_client.cli import main; main()"
    command = [mesh.tree.python, "-P", "-c", program, "put", str(file)]
    env = mesh.tree.environment({"ARTSTORE_MESH": str(mesh.mesh_file)})
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"artstore put ended with {process.returncode}")
    return Used(usage.ru_utime + usage.ru_stime, usage.ru_minflt)


async def _bare(stub_method: Any, parts: list[Any]) -> None:
    call = stub_method()
    for part in parts:
        await call.write(part)
    await call.done_writing()
    await call


async def _bytestream(
    channel: grpc.aio.Channel, data: memoryview, name: str, chunk_bytes: int
) -> None:
    write = channel.stream_unary(
        WRITE,
        request_serializer=WriteRequest.SerializeToString,
        response_deserializer=WriteResponse.FromString,
    )

    async def requests() -> AsyncIterator[Any]:
        for offset in range(0, len(data), chunk_bytes):
            piece = bytes(data[offset : offset + chunk_bytes])
            yield WriteRequest(
                resource_name=name if offset == 0 else "",
                write_offset=offset,
                finish_write=offset + len(piece) == len(data),
                data=piece,
            )

    answer = await write(requests())
    assert answer.committed_size == len(data), answer


def _of_contract(
    measured: Mapping[str, _Measured], mib: float, where: str, sha256: float
) -> list[Figure]:
    rates = {name: one.rates for name, one in measured.items()}
    figures = [
        ROWS[f"direct {where}"].measured(ratios(rates["direct"], rates["bare"])),
        ROWS[f"ingest {where}"].measured(ratios(rates["ingest"], rates["bare"])),
    ]
    if "buildgrid" in rates:
        row = ROWS[f"buildgrid {where}"]
        figures.append(row.measured(ratios(rates["direct"], rates["buildgrid"])))
    if where == IN_MEMORY:
        for key, way, process in (("element", "direct", ELEMENT), ("client", "client", "client")):
            took = measured[way].microseconds(process, mib)
            figures.append(ROWS[key].measured([one * SHA256_AT / sha256 for one in took]))
    return figures


def _beside(measured: Mapping[str, _Measured], mib: float, where: str) -> list[Figure]:
    figures = []
    for way, one in measured.items():
        of = f"upload, {way}, {where}"
        figures.append(Figure(f"{of}, MiB/s", Spread.of(one.rates)))
        for name in _SHOWN[way]:
            took, faults = one.microseconds(name, mib), one.faults(name, mib)
            figures.append(Figure(f"{of}: {name}, us/MiB", Spread.of(took)))
            figures.append(Figure(f"{of}: {name}, page faults/MiB", Spread.of(faults)))
    if "bare untuned" in measured:
        share = ratios(measured["direct"].rates, measured["bare untuned"].rates)
        figures.append(
            Figure(f"upload direct of a bare stream without malloc settings, {where}",
                   Spread.of(share))
        )  # fmt: skip
    return figures
