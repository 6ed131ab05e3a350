"""Hostile callers of every kind at once, few of each: the others go on, and nothing of it stays.

`python -m bench --part hostile` measures hundreds of each kind, and how quickly the others go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bench.hostile.attack import MOST_GROWTH_MIB, scene, servers_of
from bench.hostile.kinds import KINDS
from bench.hostile.processes import attackers
from bench.hostile.usage import MIB, highest, usage_of
from bench.meshes import Mesh
from tests.support.mesh import MeshProcess, loud_lines
from tests.support.waiting import until

CALLERS = 6
ATTACK_SECONDS = 5.0
# Connections to PostgreSQL, Valkey and other servers come and go, hostile ones or not.
OWN_DESCRIPTORS = 12
BACK_SECONDS = 60.0


async def test_others_go_on_beside_hostile_callers_and_what_these_took_comes_back(
    own_mesh: Callable[..., MeshProcess],
) -> None:
    process = own_mesh()
    mesh = Mesh.of(process.mesh_file)
    servers = servers_of(mesh)
    async with mesh.client, scene(mesh, "storage", processes=1) as (targets, others):
        await others.for_seconds(1.0)
        before = usage_of(servers)
        async with (
            highest(servers) as most,
            attackers(list(KINDS), targets, CALLERS * len(KINDS)),
        ):
            seen = await others.for_seconds(ATTACK_SECONDS)

        assert seen.failures == []
        assert most["ingest"].descriptors > before["ingest"].descriptors + CALLERS
        grown = {name: (one.rss - before[name].rss) / MIB for name, one in most.items()}
        assert {name: mib for name, mib in grown.items() if mib > MOST_GROWTH_MIB} == {}

        def still_open() -> dict[str, int]:
            return {
                name: now.descriptors - before[name].descriptors
                for name, now in usage_of(servers).items()
                if now.descriptors > before[name].descriptors + OWN_DESCRIPTORS
            }

        try:
            await until(lambda: not still_open(), BACK_SECONDS)
        except TimeoutError:
            assert still_open() == {}
        left = {name: (one.rss - before[name].rss) / MIB for name, one in usage_of(servers).items()}
        assert {name: mib for name, mib in left.items() if mib > MOST_GROWTH_MIB / 2} == {}
    assert await asyncio.to_thread(loud_lines, process) == []
