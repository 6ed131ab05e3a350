"""S3: rebuilds and transfers against what is bare of them; unchanged data costs a listing."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import grpc.aio

from artstore.v1 import downloads_pb2, storage_pb2_grpc, uploads_pb2
from artstore.v1.cache_pb2 import CHECK_LEVEL_FULL
from bench.element import BenchElement, seconds
from bench.figures import Figure, Spread, ratios
from bench.goals import ROWS
from bench.meshes import Mesh
from bench.peers.object_store import ObjectStore
from bench.population import HEADER, SIDECAR_SUFFIX, Population
from bench.processor import Used, Watched
from bench.rebuild import followers_frozen, from_nothing
from bench.transfer import MIB, OPTIONS, gated, parts_of, read_all

ELEMENT, FOLDER = "se-03", "storage_element_03"
FILE_BYTES = 64 * MIB
SERVER = "SeaweedFS"
T = TypeVar("T")


async def operations(mesh: Mesh, store: ObjectStore, *, files: int, rounds: int) -> list[Figure]:
    """Rebuilds and checks, in alternation with bare GETs and bare listings."""
    async with BenchElement.of(mesh, ELEMENT) as element, store.bare() as bare:
        await _populated(element, store, files)
        listed = await bare.list_keys(f"{FOLDER}/")
        keys = [key for key in listed if key.endswith(SIDECAR_SUFFIX)]
        if len(keys) < files:
            raise RuntimeError(f"a listing has {len(keys)} of {files} sidecars")
        watched = Watched({**mesh.processes, SERVER: store.pid})
        taken: dict[str, list[float]] = {}
        used: list[dict[str, Used]] = []
        works: dict[str, Callable[[], Awaitable[object]]] = {
            "unchanged": element.rebuild,
            "check FULL": lambda: element.check(CHECK_LEVEL_FULL),
            "incremental": element.incremental,
        }
        with followers_frozen(mesh):
            for _ in range(rounds):
                taken.setdefault("GETs", []).append(await seconds(bare.get_all(keys)))
                with watched.during():
                    took = await from_nothing(element, files)
                taken.setdefault("from nothing", []).append(took)
                used.append(watched.used)
                for name, work in works.items():
                    listing = await seconds(bare.list_keys(f"{FOLDER}/"))
                    taken.setdefault(f"listing, {name}", []).append(listing)
                    taken.setdefault(name, []).append(await seconds(work()))
    return _of_operations(taken, used, files, len(listed))


async def _populated(element: BenchElement, store: ObjectStore, files: int) -> None:
    template = await element.upload(HEADER, b"x")
    await element.settle()
    place = store.place(FOLDER)
    population = await asyncio.to_thread(Population, place, template)
    await asyncio.to_thread(population.grow, files)


def _of_operations(
    taken: dict[str, list[float]], used: Sequence[dict[str, Used]], files: int, keys: int
) -> list[Figure]:
    of = f"{files:,} files on S3"
    listing = taken["listing, unchanged"]
    figures = [
        ROWS["s3 rebuild"].measured(ratios(taken["GETs"], taken["from nothing"])),
        ROWS["s3 unchanged"].measured(ratios(taken["unchanged"], listing)),
    ]
    for name, shown in (("GETs", "bare GETs, 64 at a time"),
                        ("from nothing", "full rebuild, from nothing")):  # fmt: skip
        rates = [files / one for one in taken[name]]
        figures.append(Figure(f"{shown}, {of}, files/s", Spread.of(rates)))
    figures += [
        Figure(f"{name}, {of}, s", Spread.of(taken[name]))
        for name in ("unchanged", "check FULL", "incremental")
    ]
    figures.append(Figure(f"bare listing of {keys:,} keys, s", Spread.of(listing)))
    for name in (ELEMENT, "postgres", SERVER):
        each = [one[name].microseconds_each(files) for one in used]
        figures.append(Figure(f"S3 rebuild from nothing, {name}, us a file", Spread.of(each)))
    return figures


async def sidecar_reads(mesh: Mesh, store: ObjectStore, *, files: int) -> list[Figure]:
    """How many sidecars are read when nothing has changed. The store counts."""
    async with BenchElement.of(mesh, ELEMENT) as element:
        await _populated(element, store, files)
        await element.rebuild()
        # The uploaded one has its row.
        if store.sidecar_reads < files - 1:
            raise RuntimeError(f"only {store.sidecar_reads} reads were counted of {files} sidecars")
        await element.settle()
        already = store.sidecar_reads
        await element.rebuild()
        await element.check(CHECK_LEVEL_FULL)
        await element.incremental()
        reads = store.sidecar_reads - already
    name = f"sidecars read when nothing changed, {files:,} files on S3"
    return [Figure(name, Spread.of([reads]), 0, 0, False)]


@dataclass(frozen=True, slots=True)
class _Rates:
    """MiB/s by what was done, a value a round."""

    values: dict[str, list[float]]

    async def of(self, name: str, size: int, work: Awaitable[T]) -> T:
        started = time.perf_counter()
        result = await work
        rate = size / MIB / (time.perf_counter() - started)
        self.values.setdefault(name, []).append(rate)
        return result


async def transfers(
    mesh: Mesh, store: ObjectStore, *, rounds: int, size: int = FILE_BYTES
) -> list[Figure]:
    """MiB/s of one file, in alternation with a bare multipart upload and a bare GET."""
    rates = _Rates({})
    async with (
        grpc.aio.insecure_channel(mesh.storage[ELEMENT], options=OPTIONS) as channel,
        store.bare() as bare,
    ):
        stub = storage_pb2_grpc.StorageServiceStub(channel)
        for number in range(rounds + 1):
            data, key = os.urandom(size), f"bare/{number}"
            parts = parts_of(uploads_pb2.UploadRequest, memoryview(data), mesh.tree.chunk_bytes)
            metadata = await mesh.metadata()
            took = _Rates({}) if number == 0 else rates  # the first round warms up
            await took.of("bare multipart upload", size, bare.upload(key, data))
            answer = await took.of("upload", size, gated(stub.Upload, parts, metadata))
            await took.of("bare GET", size, bare.read(key))
            request = downloads_pb2.DownloadRequest(file_id=answer.file.file_id)
            await took.of("download", size, read_all(stub, request, metadata))
    values = rates.values
    return [
        ROWS["s3 upload"].measured(ratios(values["upload"], values["bare multipart upload"])),
        ROWS["s3 download"].measured(ratios(values["download"], values["bare GET"])),
        *(
            Figure(f"S3 {name} of {size // MIB} MiB, MiB/s", Spread.of(one))
            for name, one in values.items()
        ),
    ]
