"""What a mesh costs while nobody calls it."""

from __future__ import annotations

import asyncio

from bench.figures import Figure, Spread
from bench.goals import ROWS
from bench.meshes import Mesh
from bench.processor import Used, Watched

# After a start servers look for what there is to do.
SETTLE_SECONDS = 20.0


async def idling(mesh: Mesh, *, seconds: float, rounds: int) -> list[Figure]:
    """Share of a core that all its processes take, and each of them."""
    await asyncio.sleep(SETTLE_SECONDS)
    processes = {"the whole mesh": mesh.launcher, **mesh.processes}
    seen: list[dict[str, Used]] = []
    for _ in range(rounds):
        watched = Watched(processes)
        with watched.during():
            await asyncio.sleep(seconds)
        seen.append(watched.used)

    def percent(name: str) -> list[float]:
        return [100 * used[name].seconds / seconds for used in seen]

    return [
        ROWS["idle"].measured(percent("the whole mesh")),
        *(
            Figure(f"idle, {name}, % of a core", Spread.of(percent(name)))
            for name in mesh.processes
        ),
    ]
