"""One rebuild from nothing in a whole mesh: its followers follow, and callers read meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bench.element import BenchElement, seconds
from bench.figures import Figure, Results, Spread, percentile
from bench.memory import grown_by, watched
from bench.meshes import Mesh
from bench.rebuild import ELEMENT, Reads, from_nothing, populated, read

# Readers begin anew after so long, until the rebuild has ended.
READ_SECONDS = 5.0
SERVERS = (ELEMENT, "admin", "query", "ingest")


async def rebuild(results: Results, mesh: Mesh, *, files: int, read_seconds: float) -> None:
    """Rate, memory, GetFile's p99 and refusals during it, and how late the followers are."""
    async with BenchElement.of(mesh, ELEMENT) as element:
        population, _ = await populated(element, files)
        idle = await read(element, population.file_ids[:1], read_seconds)
        servers = {name: mesh.processes[name] for name in SERVERS}
        rebuilding = asyncio.create_task(watched(servers, from_nothing(element, files)))
        during = await _read_until(rebuilding, element, population.file_ids)
        took, grown = await rebuilding
        late = await seconds(element.settle())
    of = f"live rebuild of {files:,} files"
    p99 = percentile(during.latencies, 0.99)
    results.figures += [
        Figure(f"{of}, files/s", Spread.of([files / took])),
        Figure(f"{of}, GetFile p99, s", Spread.of([p99]), 0.06, None, False),
        Figure(f"{of}, GetFile p99, of idle", Spread.of([p99 / idle.p99]), 10, 2, False),
        Figure(f"{of}, GetFile refused, calls", Spread.of([during.refused]), 0, 0, False),
        Figure(f"{of}, followers behind at its end, s", Spread.of([late])),
        Figure(f"{of}, followers' time, of the rebuild's", Spread.of([1 + late / took]), 2, 1,
               False),
        *grown_by(grown, of),
    ]  # fmt: skip


async def _read_until(
    task: asyncio.Task[object], element: BenchElement, file_ids: Sequence[str]
) -> Reads:
    every = Reads([], 0)
    while not task.done():
        every += await read(element, file_ids, READ_SECONDS)
    return every
