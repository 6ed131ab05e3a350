"""The cache operations on S3: unchanged data costs a listing and no sidecar read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from artstore.v1.cache_pb2 import CHECK_LEVEL_FULL
from bench.element import BenchElement, seconds
from bench.figures import Figure, Spread
from bench.meshes import Mesh
from bench.peers.object_store import ObjectStore
from bench.population import HEADER, Population

ELEMENT, FOLDER = "se-03", "storage_element_03"


async def operations(mesh: Mesh, store: ObjectStore, *, files: int, rounds: int) -> list[Figure]:
    """Each operation in alternation with a bare listing, and what was read meanwhile."""
    async with BenchElement.of(mesh, ELEMENT) as element:
        template = await element.upload(HEADER, b"x")
        await element.settle()
        population = Population(store.place(FOLDER), template)
        await asyncio.to_thread(population.grow, files)
        nothing = await seconds(element.rebuild())
        # The uploaded one has its row.
        if store.sidecar_reads < files - 1:
            raise RuntimeError(f"only {store.sidecar_reads} reads were counted of {files} sidecars")
        await element.settle()
        works: dict[str, Callable[[], Awaitable[object]]] = {
            "bare listing": lambda: asyncio.to_thread(store.list_bare, FOLDER + "/"),
            "rebuild, unchanged": element.rebuild,
            "check FULL": lambda: element.check(CHECK_LEVEL_FULL),
            "incremental, nothing to do": element.incremental,
        }
        taken: dict[str, list[float]] = {name: [] for name in works}
        reads = 0
        for number in range(rounds + 1):
            for name, work in works.items():
                already = store.sidecar_reads
                took = await seconds(work())
                reads += store.sidecar_reads - already
                if number:  # the first round warms up
                    taken[name].append(took)
    of = f"{files:,} files on S3"
    bare = taken["bare listing"]
    pairs = zip(taken["rebuild, unchanged"], bare, strict=True)
    return [
        Figure(f"full rebuild, from nothing, {of}, files/s", Spread.of([files / nothing])),
        *(Figure(f"{name}, {of}, s", Spread.of(values), higher_is_better=False)
          for name, values in taken.items()),
        Figure(f"full rebuild, unchanged, of a bare listing, {of}",
               Spread.of([a / b for a, b in pairs]), 1.3, None, False),
        Figure(f"sidecars read when nothing changed, {of}", Spread.of([reads]), 0, 0, False),
    ]  # fmt: skip
