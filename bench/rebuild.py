"""Rebuilds, checks and QUICK of many local files, against the least that they must do."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc.aio
import psutil

from artstore.v1.cache_pb2 import CHECK_LEVEL_FULL, CHECK_LEVEL_QUICK
from bench.calls import at_steady_rate
from bench.element import BenchElement, seconds
from bench.figures import Figure, Results, Spread, percentile, ratios
from bench.goals import ROWS
from bench.meshes import Mesh
from bench.metrics import blocked, loop_lag
from bench.peers.pipeline import pipeline, scan
from bench.population import FILES_A_FOLDER, HEADER, Folder, Population
from bench.processor import SHA256_AT, Used, Watched, sha256_of_machine

ELEMENT = "se-01"
READS_PER_SECOND = 100
# A folder is believed unmoved only once its time is older than a tick of the clock.
REST_SECONDS = 0.1
CHANGED_SHARE = 0.001
MANY_FOLDERS = 100


@dataclass(slots=True)
class _Taken:
    """Seconds by operation, and what from nothing used, a value a round."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    used: list[dict[str, Used]] = field(default_factory=list)
    bare_used: list[dict[str, Used]] = field(default_factory=list)

    def add(self, name: str, took: float) -> None:
        self.seconds.setdefault(name, []).append(took)


async def local(
    results: Results, mesh: Mesh, *, files: int, rounds: int, read_seconds: float
) -> None:
    """Operations at `files` files in alternation with bare ones, and GetFile meanwhile.

    Args:
        read_seconds: how long GetFile is measured, of each kind in each round.
    """
    async with BenchElement.of(mesh, ELEMENT) as element:
        population, root = await populated(element, files)
        sha256 = await sha256_of_machine()
        before = await loop_lag(element.endpoint)
        with followers_frozen(mesh):
            taken = await _operations(element, root, files, rounds)
            results.figures += _of_operations(taken, files, sha256)
            results.figures += await _reads(element, population.file_ids, read_seconds, rounds)
        after = await loop_lag(element.endpoint)
        results.figures += blocked(f"{element.name} in all of this", before, after)
    results.parameters["SHA-256, us/MiB"] = f"{sha256:.0f}"


async def populated(
    element: BenchElement, files: int, files_a_folder: int = FILES_A_FOLDER
) -> tuple[Population, Path]:
    """So many files laid down behind the element's back, and its folder."""
    root = element.mesh.data_dir / f"storage_element_{element.name.removeprefix('se-')}"
    template = await element.upload(HEADER, b"x")
    await element.settle()
    population = Population(Folder(root), template, files_a_folder)
    await asyncio.to_thread(population.grow, files)
    return population, root


@contextmanager
def followers_frozen(mesh: Mesh, *names: str) -> Iterator[None]:
    """Keep admin and query, or those named, from following, so that others have the processor."""
    followers = [psutil.Process(mesh.processes[name]) for name in names or ("admin", "query")]
    for process in followers:
        process.suspend()
    try:
        yield
    finally:
        for process in followers:
            process.resume()


async def from_nothing(element: BenchElement, total: int) -> float:
    """Seconds of a rebuild that finds at least `total` files and no rows."""
    await element.forget_rows()
    await asyncio.sleep(REST_SECONDS)
    started = time.perf_counter()
    statistics = await element.rebuild()
    took = time.perf_counter() - started
    if statistics.cache_entries_after < total:
        raise RuntimeError(f"{total} files, but a rebuild from nothing found {statistics}")
    return took


async def _operations(element: BenchElement, root: Path, files: int, rounds: int) -> _Taken:
    """Each beside what is bare of it; the rows are complete after each round."""
    database = element.mesh.database_url
    watched = Watched({**element.mesh.processes, "bare": os.getpid()})
    against_scan: dict[str, Callable[[], Awaitable[object]]] = {
        "unchanged": element.rebuild,
        "check": lambda: element.check(CHECK_LEVEL_FULL),
        "incremental": element.incremental,
    }
    taken = _Taken()
    for number in range(rounds + 1):
        kept = taken if number else _Taken()  # the first round warms up
        with watched.during():
            kept.add("pipeline", await seconds(pipeline(root, database)))
        kept.bare_used.append(watched.used)
        with watched.during():
            kept.add("from nothing", await from_nothing(element, files))
        kept.used.append(watched.used)
        for name, work in against_scan.items():
            kept.add(f"scan, {name}", await seconds(asyncio.to_thread(scan, root)))
            kept.add(name, await seconds(work()))
        kept.add("quick", await seconds(element.check(CHECK_LEVEL_QUICK)))
    return taken


def _of_operations(taken: _Taken, files: int, sha256: float) -> list[Figure]:
    took = taken.seconds
    of = f"{files:,} local files"

    def us(used: Sequence[dict[str, Used]], *names: str) -> list[float]:
        return [sum(one[name].microseconds_each(files) for name in names) for one in used]

    both = us(taken.used, ELEMENT, "postgres")
    figures = [
        ROWS["rebuild"].measured(ratios(took["pipeline"], took["from nothing"])),
        ROWS["rebuild us"].measured([one * SHA256_AT / sha256 for one in both]),
        *(
            ROWS[name].measured(ratios(took[name], took[f"scan, {name}"]))
            for name in ("check", "incremental", "unchanged")
        ),
        Figure(f"check FULL, {of}, s", Spread.of(took["check"]), 2.5, 0.5, False),
        Figure(f"incremental, nothing to do, {of}, s", Spread.of(took["incremental"]), 2.5, 0.5,
               False),
        Figure(f"check QUICK, {of}, s", Spread.of(took["quick"]), None, 0.1, False),
        Figure(f"scandir + stat, {of}, s", Spread.of(took["scan, check"])),
    ]  # fmt: skip
    for name, shown in (("pipeline", "bare scan + read + orjson + COPY"),
                        ("from nothing", "full rebuild, from nothing"),
                        ("unchanged", "full rebuild, unchanged")):  # fmt: skip
        rates = [files / one for one in took[name]]
        figures.append(Figure(f"{shown}, {of}, files/s", Spread.of(rates)))
    for shown, used in (
        ("rebuild from nothing, element", us(taken.used, ELEMENT)),
        ("rebuild from nothing, PostgreSQL", us(taken.used, "postgres")),
        ("rebuild from nothing, Valkey", us(taken.used, "valkey")),
        ("bare scan + read + orjson + COPY, its process", us(taken.bare_used, "bare")),
        ("bare scan + read + orjson + COPY, PostgreSQL", us(taken.bare_used, "postgres")),
    ):
        figures.append(Figure(f"{shown}, us a file", Spread.of(used)))
    return figures


async def quick(element: BenchElement, root: Path, rounds: int) -> list[Figure]:
    """QUICK when the folders of a thousandth of the files have moved, of when all have."""
    folders = [Path(at) for at, _, names in os.walk(root) if names]
    some = folders[: max(1, round(len(folders) * CHANGED_SHARE))]
    taken: dict[str, list[float]] = {"some": [], "all": []}
    for number in range(rounds + 1):
        for name, moved in (("some", some), ("all", folders)):
            for folder in moved:
                os.utime(folder)
            await asyncio.sleep(REST_SECONDS)
            took = await seconds(element.check(CHECK_LEVEL_QUICK))
            if number:
                taken[name].append(took)
    of = f"of {len(folders):,} folders moved, s"
    return [
        ROWS["quick"].measured(ratios(taken["some"], taken["all"])),
        Figure(f"check QUICK, {len(some)} {of}", Spread.of(taken["some"])),
        Figure(f"check QUICK, all {of}", Spread.of(taken["all"])),
    ]


async def one_folder(mesh: Mesh, *, files: int, rounds: int) -> list[Figure]:
    """A rebuild from nothing of one large folder, in alternation with one of many small ones."""
    rates: dict[str, list[float]] = {"one": [], "many": []}
    async with BenchElement.of(mesh, "se-02") as one, BenchElement.of(mesh, "se-03") as many:
        # The uploaded file has a folder of its own.
        await populated(one, files, files)
        await populated(many, files, max(1, files // MANY_FOLDERS))
        with followers_frozen(mesh):
            for number in range(rounds + 1):
                for name, element in (("one", one), ("many", many)):
                    took = await from_nothing(element, files)
                    if number:
                        rates[name].append(files / took)
    of = f"{files:,} local files"
    return [
        *(
            Figure(f"full rebuild, from nothing, {of} in {name}, files/s", Spread.of(rates[key]))
            for key, name in (("one", "one folder"), ("many", f"{MANY_FOLDERS} folders"))
        ),
        Figure(
            f"rebuild from nothing of one folder, of {MANY_FOLDERS} folders",
            Spread.of(ratios(rates["one"], rates["many"])),
        ),
    ]


@dataclass(frozen=True, slots=True)
class Reads:
    """Seconds of each GetFile, and how many were refused."""

    latencies: list[float]
    refused: int

    def __add__(self, other: Reads) -> Reads:
        return Reads([*self.latencies, *other.latencies], self.refused + other.refused)

    @property
    def p99(self) -> float:
        """In seconds."""
        return percentile(self.latencies, 0.99)


async def _reads(
    element: BenchElement, file_ids: Sequence[str], read_seconds: float, rounds: int
) -> list[Figure]:
    """p99 of GetFile when nothing else happens, and while rebuilds run."""
    idle: list[float] = []
    unchanged: list[float] = []
    nothing: list[float] = []
    refused = 0

    async def again() -> None:
        await from_nothing(element, len(file_ids))

    for _ in range(rounds):
        quiet = await read(element, file_ids, read_seconds)
        busy = await _read_while(element, file_ids, read_seconds, element.rebuild)
        if quiet.refused or busy.refused:
            raise RuntimeError("reads of files that have a row were refused")
        lost = await _read_while(element, file_ids, read_seconds, again)
        for kept, one in ((idle, quiet), (unchanged, busy), (nothing, lost)):
            kept.append(one.p99)
        refused += lost.refused
    name = f"GetFile p99 at {READS_PER_SECOND}/s"
    goal = 2 * Spread.of(idle).median
    return [
        ROWS["reads"].measured(ratios(nothing, idle)),
        ROWS["refused"].measured([refused]),
        Figure(f"{name}, idle, s", Spread.of(idle), 0.03, None, False),
        Figure(f"{name}, during full rebuilds, s", Spread.of(unchanged), 0.06, goal, False),
        Figure(f"{name}, during full rebuilds from nothing, s", Spread.of(nothing), 0.06, goal,
               False),
    ]  # fmt: skip


async def read(element: BenchElement, file_ids: Sequence[str], read_seconds: float) -> Reads:
    """GetFile at a steady rate: an element looks for so many lost rows only, and refuses others."""
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

    took = await at_steady_rate(get, per_second=READS_PER_SECOND, seconds=read_seconds)
    return Reads(took, refused)


async def _read_while(
    element: BenchElement,
    file_ids: Sequence[str],
    read_seconds: float,
    work: Callable[[], Awaitable[object]],
) -> Reads:
    """`read` while `work` is done over and over; the last time is let end."""
    reading = asyncio.create_task(read(element, file_ids, read_seconds))
    while not reading.done():
        await work()
    return await reading
