"""Cache operations on an element of one file: what they cost before any file is looked at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from artstore.v1.cache_pb2 import CHECK_LEVEL_FULL
from bench.element import BenchElement, seconds
from bench.figures import Figure, Spread
from bench.meshes import Mesh
from bench.population import HEADER

WARM_UP = 5
Step = Callable[[], Awaitable[object]]


async def operations(mesh: Mesh, *, repeats: int) -> list[Figure]:
    """p50 of check, rebuild, incremental, cleanup and lazy refresh.

    Each has its work to do: the row is missing for both rebuilds, and expired for cleanup and
    lazy refresh.
    """
    async with BenchElement.of(mesh, "se-02") as element:
        file = await element.upload(HEADER, b"x")
        await element.settle()

        async def prepared_nothing() -> None:
            return

        async def lazily() -> None:
            got = await element.get(file.file_id)
            if got.cache_expired or got.cache_stale:
                raise RuntimeError(f"the row was not refreshed by reading it: {got}")

        async def cleaned() -> None:
            if await element.cleanup() != 1:
                raise RuntimeError("the expired row was not removed")

        works: dict[str, tuple[Step, Step, float]] = {
            "check": (prepared_nothing, lambda: element.check(CHECK_LEVEL_FULL), 0.05),
            "rebuild": (element.forget_rows, element.rebuild, 0.05),
            "incremental": (element.forget_rows, element.incremental, 0.03),
            "lazy": (element.expire_rows, lazily, 0.03),
            "cleanup": (element.expire_rows, cleaned, 0.02),
        }
        taken: dict[str, list[float]] = {name: [] for name in works}
        for number in range(repeats + WARM_UP):
            await lazily()  # puts back what cleanup removed
            for name, (prepare, work, _) in works.items():
                await prepare()
                took = await seconds(work())
                if number >= WARM_UP:
                    taken[name].append(took)
    return [
        Figure(f"1 file, {name}, p50, s", Spread.of(taken[name]), floor, 0.01, False)
        for name, (_, _, floor) in works.items()
    ]
