"""Rebuild, check, incremental and QUICK of many files, how they grow, and readers meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import grpc.aio
import psutil

from artstore.v1.cache_pb2 import CHECK_LEVEL_FULL, CHECK_LEVEL_QUICK
from bench.calls import at_steady_rate
from bench.element import BenchElement, seconds
from bench.figures import Figure, Results, Spread, percentile
from bench.meshes import Mesh
from bench.metrics import blocked, loop_lag
from bench.population import HEADER, Place, Population

STEPS = (1_000, 10_000, 100_000)
READS_PER_SECOND = 100
# A folder is believed unmoved only once its time is older than a tick of the clock.
REST_SECONDS = 0.1


async def local(
    results: Results, mesh: Mesh, place: Place, *, files: int, rounds: int, read_seconds: float
) -> None:
    """The rows of the contract at `files` files, and the curves on the way there.

    Args:
        place: of element se-01.
        read_seconds: how long GetFile is measured, of each kind.
    """
    async with BenchElement.of(mesh, "se-01") as element:
        template = await element.upload(HEADER, b"x")
        await element.settle()
        population = Population(place, template)
        before = await loop_lag(element.endpoint)
        with followers_frozen(mesh):
            for total in (*(step for step in STEPS if step < files), files):
                await asyncio.to_thread(population.grow, total)
                measured = await _measure(element, total, rounds)
                for name, values in measured.items():
                    point = (total, Spread.of(values).median)
                    results.growth.setdefault(name, []).append(point)
            results.figures += _figures(files, measured)
            results.figures += await _reads(element, population.file_ids, read_seconds)
        after = await loop_lag(element.endpoint)
        results.figures += blocked(f"{element.name} in all of this", before, after)
        results.figures.append(await _followed(element, files))


@contextmanager
def followers_frozen(mesh: Mesh) -> Iterator[None]:
    """Keep admin and query from following, so that an element has the processor to itself."""
    followers = [psutil.Process(mesh.processes[name]) for name in ("admin", "query")]
    for process in followers:
        process.suspend()
    try:
        yield
    finally:
        for process in followers:
            process.resume()


async def _measure(element: BenchElement, total: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each operation, alternating; the rows are complete after each."""
    works: dict[str, Callable[[], Awaitable[object]]] = {
        "rebuild, from nothing": lambda: _from_nothing(element, total),
        "rebuild, unchanged": element.rebuild,
        "check FULL": lambda: element.check(CHECK_LEVEL_FULL),
        "incremental": element.incremental,
        "check QUICK": lambda: element.check(CHECK_LEVEL_QUICK),
    }
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        await element.forget_rows()
        await asyncio.sleep(REST_SECONDS)
        for name, work in works.items():
            taken[name].append(await seconds(work()))
    return taken


async def _from_nothing(element: BenchElement, total: int) -> None:
    statistics = await element.rebuild()
    if statistics.cache_entries_after != total:
        raise RuntimeError(f"{total} files, but a rebuild from nothing found {statistics}")


async def _followed(element: BenchElement, files: int) -> Figure:
    """How long admin and query need for the changes of all that went before.

    They were frozen, and are `files` files behind several times over: they read a snapshot, or
    a tail of which only the newest state of each file counts.
    """
    caught_up = await seconds(element.settle())
    name = f"admin and query follow the rebuilds of {files:,} files, s"
    return Figure(name, Spread.of([caught_up]), higher_is_better=False)


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


async def _reads(
    element: BenchElement, file_ids: Sequence[str], read_seconds: float
) -> list[Figure]:
    """p99 of GetFile when nothing else happens, and while rebuilds run."""
    idle, lost = await _read(element, file_ids, read_seconds)
    unchanged, lost_too = await _read_while(element, file_ids, read_seconds, element.rebuild)
    if lost or lost_too:
        raise RuntimeError(f"{lost + lost_too} reads of files that have a row were refused")

    async def from_nothing() -> None:
        await element.forget_rows()
        await element.rebuild()

    nothing, refused = await _read_while(element, file_ids, read_seconds, from_nothing)
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
        Figure(
            "GetFile refused as UNAVAILABLE, during full rebuilds from nothing, calls",
            Spread.of([refused]), None, 0, False,
        ),
    ]  # fmt: skip


async def _read(
    element: BenchElement, file_ids: Sequence[str], read_seconds: float
) -> tuple[float, int]:
    """p99 of GetFile, and how many were refused: an element looks for so many lost rows only."""
    choice = random.Random(4)
    refused = 0

    async def get() -> None:
        nonlocal refused
        try:
            await element.get(choice.choice(file_ids))
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            refused += 1

    latencies = await at_steady_rate(get, per_second=READS_PER_SECOND, seconds=read_seconds)
    return percentile(latencies, 0.99), refused


async def _read_while(
    element: BenchElement,
    file_ids: Sequence[str],
    read_seconds: float,
    work: Callable[[], Awaitable[object]],
) -> tuple[float, int]:
    """`_read` while `work` is done over and over; the last time is let end."""
    reading = asyncio.create_task(_read(element, file_ids, read_seconds))
    while not reading.done():
        await work()
    return await reading
