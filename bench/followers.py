"""How admin and query follow a rebuild: their time, and PostgreSQL's for each row."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from bench.element import BenchElement, seconds
from bench.figures import Figure, Results, Spread, ratios
from bench.goals import ROWS
from bench.meshes import Mesh
from bench.processor import SHA256_AT, Watched, sha256_of_machine
from bench.rebuild import ELEMENT, followers_frozen, from_nothing, populated


@dataclass(slots=True)
class _Taken:
    """A value a round.

    Attributes:
        postgres, own: us of a row, of PostgreSQL and of the follower, by "query new" and so on.
        rebuild, followed: seconds of a rebuild, and of what both do after it.
        live, late: files a second while both follow, and the seconds they need longer.
    """

    postgres: dict[str, list[float]] = field(default_factory=dict)
    own: dict[str, list[float]] = field(default_factory=dict)
    rebuild: list[float] = field(default_factory=list)
    followed: list[float] = field(default_factory=list)
    live: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)


async def following(results: Results, mesh: Mesh, *, files: int, rounds: int) -> None:
    """Rows that are new to the followers, rows that they have, and a rebuild that they follow.

    They stand still while an element rebuilds, and go on one by one or together.
    """
    taken = _Taken()
    sha256 = await sha256_of_machine()
    async with BenchElement.of(mesh, ELEMENT) as element:
        population, _ = await populated(element, 1)
        for _ in range(rounds):
            await asyncio.to_thread(population.grow, len(population.file_ids) + files)
            total = len(population.file_ids)
            with followers_frozen(mesh, "admin"):
                with followers_frozen(mesh, "query"):
                    await element.rebuild()
                await _follows(taken, element, "query", "new", files)
            await _follows(taken, element, "admin", "new", files)
            with followers_frozen(mesh, "admin"):
                with followers_frozen(mesh, "query"):
                    await from_nothing(element, total)
                await _follows(taken, element, "query", "unchanged", total)
            await _follows(taken, element, "admin", "unchanged", total)
            with followers_frozen(mesh):
                taken.rebuild.append(await from_nothing(element, total))
            taken.followed.append(await seconds(element.settle()))
            taken.live.append(total / await from_nothing(element, total))
            taken.late.append(await seconds(element.settle()))
    results.parameters["SHA-256, us/MiB"] = f"{sha256:.0f}"
    results.figures += _figures(taken, files, SHA256_AT / sha256)


async def _follows(taken: _Taken, element: BenchElement, name: str, what: str, rows: int) -> None:
    watched = Watched(element.mesh.processes)
    with watched.during():
        await element.settle(name)
    for kept, process in ((taken.postgres, "postgres"), (taken.own, name)):
        each = watched.used[process].microseconds_each(rows)
        kept.setdefault(f"{name} {what}", []).append(each)


def _figures(taken: _Taken, files: int, scale: float) -> list[Figure]:
    of = f"{files:,} local files and more in each round"
    return [
        ROWS["followers"].measured(ratios(taken.followed, taken.rebuild)),
        *(ROWS[key].measured([scale * one for one in values])
            for key, values in taken.postgres.items()),
        *(
            Figure(f"{name}'s own time, us a row", Spread.of(values))
            for name, values in taken.own.items()
        ),
        Figure(
            f"admin and query follow a rebuild of {of}, s",
            Spread.of(taken.followed)),
        Figure(f"full rebuild, from nothing, while both follow, {of}, files/s",
               Spread.of(taken.live)),
        Figure(f"admin and query behind at its end, {of}, s", Spread.of(taken.late)),
    ]  # fmt: skip
