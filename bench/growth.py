"""How the cost of operations grows with the number of files, and memory in the largest rebuild."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import grpc.aio

from artstore.v1 import query_pb2, query_pb2_grpc, storage_pb2
from artstore.v1.cache_pb2 import CHECK_LEVEL_FULL, CHECK_LEVEL_QUICK
from bench import search
from bench.element import BenchElement, seconds
from bench.figures import Results, Spread, percentile
from bench.memory import grown_by, watched
from bench.meshes import Mesh
from bench.population import HEADER
from bench.rebuild import ELEMENT, followers_frozen, from_nothing, populated, quick

FEWEST = 1_000
FOLDERS = 1_000
PAGE = 100
CALLS = 50
WARM_UP = 5


async def growing(results: Results, mesh: Mesh, *, most: int, rounds: int) -> None:
    """Seconds of each operation at 1,000 files and each ten times as many, up to `most`."""
    async with (
        BenchElement.of(mesh, ELEMENT) as element,
        grpc.aio.insecure_channel(mesh.query) as channel,
    ):
        # A thousand folders in the end: a thousandth of the files are those of one.
        population, root = await populated(element, 1, max(1, most // FOLDERS))
        query = query_pb2_grpc.QueryServiceStub(channel)
        files, indexed = min(FEWEST, most), 0
        while True:
            await asyncio.to_thread(population.grow, files)
            step = _Step(results, element, files, rounds if files < most else 1)
            await step.operations()
            await step.following()
            await search.fill(mesh, files, first=indexed)
            indexed = files
            await step.searching(query)
            if files >= most:
                break
            files = min(files * 10, most)
        with followers_frozen(mesh):
            results.figures += await quick(element, root, rounds)


@dataclass(frozen=True, slots=True)
class _Step:
    """One number of files."""

    results: Results
    element: BenchElement
    files: int
    rounds: int

    def _add(self, name: str, values: list[float]) -> None:
        point = (self.files, Spread.of(values).median)
        self.results.growth.setdefault(name, []).append(point)

    async def operations(self) -> None:
        """What an element does, while nobody follows."""
        element = self.element
        works: dict[str, Callable[[], Awaitable[object]]] = {
            "rebuild, unchanged": element.rebuild,
            "check FULL": lambda: element.check(CHECK_LEVEL_FULL),
            "incremental": element.incremental,
            "check QUICK": lambda: element.check(CHECK_LEVEL_QUICK),
        }
        taken: dict[str, list[float]] = {}
        with followers_frozen(element.mesh):
            for _ in range(self.rounds):
                pid = {ELEMENT: element.mesh.processes[ELEMENT]}
                took, grown = await watched(pid, from_nothing(element, self.files))
                taken.setdefault("rebuild, from nothing", []).append(took)
                for name, work in works.items():
                    taken.setdefault(name, []).append(await seconds(work()))
            listed = [await seconds(self._page()) for _ in range(CALLS)]
        for name, values in taken.items():
            self._add(name, values)
        self._add(f"list, a page of {PAGE}", listed)
        self.results.figures += grown_by(grown, f"rebuild of {self.files:,} files from nothing")

    async def _page(self) -> None:
        request = storage_pb2.StorageServiceListFilesRequest(page_size=PAGE)
        await self.element.storage.ListFiles(request, metadata=await self.element.mesh.metadata())

    async def following(self) -> None:
        """All of the rebuilt rows, and one change after them."""
        self._add("follow a rebuild", [await seconds(self.element.settle())])
        taken = []
        for _ in range(CALLS // 5):
            await self.element.upload(HEADER, b"x")
            taken.append(await seconds(self.element.settle()))
        self._add("follow one change", taken)

    async def searching(self, query: query_pb2_grpc.QueryServiceAsyncStub) -> None:
        """A rare word with a filter."""
        filters = query_pb2.SearchFilters(content_types=["application/pdf"])
        took = []
        for number in range(CALLS + WARM_UP):
            request = query_pb2.SearchFilesRequest(query=f"r{number}", filters=filters)
            metadata = await self.element.mesh.metadata()
            took.append(await seconds(query.SearchFiles(request, metadata=metadata)))
        self._add("search, p95", [percentile(took[WARM_UP:], 0.95)])
