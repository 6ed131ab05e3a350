"""Rebuild, check, incremental and QUICK of many files, how they grow, and readers meanwhile."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from artstore.v1.cache_pb2 import CHECK_LEVEL_FULL, CHECK_LEVEL_QUICK
from bench.calls import at_steady_rate
from bench.element import Element, seconds
from bench.figures import Figure, Results, Spread, percentile
from bench.meshes import Mesh
from bench.metrics import blocked, loop_lag
from bench.population import HEADER, Population

STEPS = (1_000, 10_000, 100_000)
READS_PER_SECOND = 100
READ_SECONDS = 10.0
# The hour's newest folder is believed unmoved only once its time is older than a clock's tick.
REST_SECONDS = 0.1


async def local(results: Results, mesh: Mesh, *, files: int, rounds: int) -> None:
    """All rows of the contract on local files, at `files` files; the curves on the way there."""
    async with Element.of(mesh, "se-01") as element:
        template = await element.upload(HEADER, b"x")
        population = Population(mesh.data_dir / "storage_element_01", template)
        before = await loop_lag(element.endpoint)
        for total in (*(step for step in STEPS if step < files), files):
            await asyncio.to_thread(population.grow, total)
            measured = await _measure(element, total, rounds)
            for name, values in measured.items():
                point = (total, Spread.of(values).median)
                results.growth.setdefault(name, []).append(point)
        results.figures += _figures(files, measured)
        results.figures += await _reads(element, population.file_ids)
        after = await loop_lag(element.endpoint)
        results.figures += blocked(f"{element.name} in all of this", before, after)


async def _measure(element: Element, total: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each operation, alternating; rows are complete before and after."""
    works: dict[str, Callable[[], Awaitable[object]]] = {
        "rebuild, unchanged": element.rebuild,
        "check FULL": lambda: element.check(CHECK_LEVEL_FULL),
        "incremental": element.incremental,
        "check QUICK": lambda: element.check(CHECK_LEVEL_QUICK),
    }
    nothing: list[float] = []
    taken: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds):
        await element.forget_rows()
        nothing.append(await seconds(_from_nothing(element, total)))
        await element.settle()
        await asyncio.sleep(REST_SECONDS)
        for name, work in works.items():
            took = await seconds(work())
            if number or rounds == 1:  # the first round warms up
                taken[name].append(took)
    return {"rebuild, from nothing": nothing, **taken}


async def _from_nothing(element: Element, total: int) -> None:
    statistics = await element.rebuild()
    if statistics.cache_entries_after != total:
        raise RuntimeError(f"{total} files, but a rebuild from nothing found {statistics}")


def _figures(files: int, measured: dict[str, list[float]]) -> list[Figure]:
    def rate(name: str) -> Spread:
        return Spread.of([files / took for took in measured[name]])

    def time_of(name: str) -> Spread:
        return Spread.of(measured[name])

    of = f"{files:,} local files"
    return [
        Figure(f"full rebuild, from nothing, {of}, files/s", rate("rebuild, from nothing"),
               10_000, 30_000),
        Figure(f"full rebuild, unchanged, {of}, files/s", rate("rebuild, unchanged"),
               20_000, 40_000),
        Figure(f"check FULL, {of}, s", time_of("check FULL"), 2.5, 0.5, False),
        Figure(f"incremental, nothing to do, {of}, s", time_of("incremental"), 2.5, 0.5, False),
        Figure(f"check QUICK, {of}, s", time_of("check QUICK"), None, 0.1, False),
    ]  # fmt: skip


async def _reads(element: Element, file_ids: Sequence[str]) -> list[Figure]:
    """p99 of GetFile when nothing else happens, and while rebuilds run."""
    idle = await _p99(element, file_ids)
    unchanged = await _p99_while(element, file_ids, element.rebuild)

    async def from_nothing() -> None:
        await element.forget_rows()
        await element.rebuild()

    nothing = await _p99_while(element, file_ids, from_nothing)
    await element.settle()
    name = f"GetFile p99 at {READS_PER_SECOND}/s"
    floor = 0.06
    return [
        Figure(f"{name}, idle, s", Spread.of([idle]), 0.03, None, False),
        Figure(
            f"{name}, during full rebuilds, s", Spread.of([unchanged]), floor, 2 * idle, False
        ),
        Figure(
            f"{name}, during full rebuilds from nothing, s",
            Spread.of([nothing]), floor, 2 * idle, False,
        ),
    ]  # fmt: skip


async def _p99(element: Element, file_ids: Sequence[str], at_least: float = READ_SECONDS) -> float:
    choice = random.Random(4)
    latencies = await at_steady_rate(
        lambda: element.get(choice.choice(file_ids)),
        per_second=READS_PER_SECOND,
        seconds=at_least,
    )
    return percentile(latencies, 0.99)


async def _p99_while(
    element: Element, file_ids: Sequence[str], work: Callable[[], Awaitable[object]]
) -> float:
    """p99 while `work` is done over and over; the last one is let end."""
    ended = time.monotonic() + READ_SECONDS

    async def over_and_over() -> None:
        while time.monotonic() < ended:
            await work()

    busy = asyncio.create_task(over_and_over())
    try:
        return await _p99(element, file_ids)
    finally:
        with suppress(asyncio.CancelledError):
            await busy
