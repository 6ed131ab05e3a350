"""A rebuild of a million files from nothing, in a mesh that goes on working: the figures it has."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc.aio
import psutil
import pytest

from bench.element import BenchElement
from bench.figures import percentile
from bench.meshes import Mesh
from bench.population import HEADER, Folder, Population
from tests.support.mesh import MeshProcess

FILES = 1_000_000
READS_PER_SECOND = 50
SETTLE_SECONDS = 2400.0
MIB = 1 << 20
MAX_GROWTH_BYTES = 200 * MIB


@dataclass
class Reads:
    """GetFile at a steady rate: seconds that each took, and how many were refused."""

    element: BenchElement
    file_ids: list[str]
    seconds: list[float] = field(default_factory=list)
    refused: int = 0

    async def go_on(self, ended: asyncio.Event) -> None:
        due = time.monotonic()
        async with asyncio.TaskGroup() as calls:
            while not ended.is_set():
                calls.create_task(self._one())
                due += 1 / READS_PER_SECOND
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _one(self) -> None:
        began = time.monotonic()
        try:
            await self.element.get(random.choice(self.file_ids))
        except grpc.aio.AioRpcError:
            self.refused += 1
        self.seconds.append(time.monotonic() - began)

    def __str__(self) -> str:
        p99 = 1000 * percentile(self.seconds, 0.99)
        return f"{len(self.seconds)} calls, p99 {p99:.1f} ms, {self.refused} refused"


@contextmanager
def growth_of(process: psutil.Process) -> Iterator[Callable[[], int]]:
    """The most bytes it has beyond those that it has now, with its own children."""

    def held() -> int:
        return process.memory_info().rss + sum(
            child.memory_info().rss for child in process.children() if child.is_running()
        )

    before, most = held(), 0

    def look() -> int:
        nonlocal most
        most = max(most, held() - before)
        return most

    yield look


@pytest.mark.full
@pytest.mark.timeout(3600)
async def test_a_million_files_are_rebuilt_from_nothing_while_they_are_read(
    own_mesh: Callable[..., MeshProcess],
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    monkeypatch.setattr("bench.element.SETTLE_SECONDS", SETTLE_SECONDS)
    mesh = Mesh.of(own_mesh().mesh_file)
    async with mesh.client, BenchElement.of(mesh, "se-01") as element:
        template = await element.upload(HEADER, b"x")
        place = Folder(mesh.data_dir / "storage_element_01")
        population = Population(place, template)
        await asyncio.to_thread(population.grow, FILES)
        await element.settle()
        idle, ended = Reads(element, population.file_ids[:1]), asyncio.Event()
        asyncio.get_running_loop().call_later(10, ended.set)
        await idle.go_on(ended)

        during, ended = Reads(element, population.file_ids), asyncio.Event()
        reading = asyncio.create_task(during.go_on(ended))
        began = time.monotonic()
        with growth_of(psutil.Process(mesh.processes["se-01"])) as growth:
            rebuilding = asyncio.create_task(element.rebuild())
            while not rebuilding.done():
                await asyncio.wait({rebuilding}, timeout=0.5)
                growth()
        took = time.monotonic() - began
        ended.set()
        await reading
        await element.settle()
        lag = time.monotonic() - began - took
    assert rebuilding.result().cache_entries_after == FILES
    figures = {
        "files a second": f"{FILES / took:.0f}",
        "memory growth, MiB": f"{growth() / MIB:.0f}",
        "GetFile before": str(idle),
        "GetFile meanwhile": str(during),
        "followers had all of it after so many more seconds": f"{lag:.0f}",
    }
    for name, value in figures.items():
        record_property(name, value)
        print(f"{name}: {value}")
    assert growth() < MAX_GROWTH_BYTES
    assert during.refused == 0
