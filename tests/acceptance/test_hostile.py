"""Hostile callers of every kind at once, few of each: the others go on, and nothing of it stays.

`python -m bench --part hostile` measures hundreds of each kind, and how quickly the others go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from bench.hostile.attack import LEFT_MIB, MOST_GROWTH_MIB, scene, servers_of
from bench.hostile.kinds import KINDS
from bench.hostile.processes import attackers
from bench.hostile.usage import MIB, Usage, highest, usage_of
from bench.meshes import Mesh
from tests.support.mesh import MeshProcess, loud_lines
from tests.support.waiting import until

CALLERS = 6
ATTACK_SECONDS = 3.0
# Connections to PostgreSQL, Valkey and other servers come and go, hostile ones or not.
OWN_DESCRIPTORS = 12
# A minute, and what a machine takes that does three other things.
BACK_SECONDS = 90.0


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
            attackers(list(KINDS), targets, CALLERS * len(KINDS), niceness=0),
        ):
            failures = (await others.for_seconds(ATTACK_SECONDS)).failures
            while not all(_came(name, before, most) for name in ("admin", "ingest", "query")):
                failures += (await others.for_seconds(1.0)).failures

        assert failures == []
        grown = {name: (one.rss - before[name].rss) / MIB for name, one in most.items()}
        assert {name: mib for name, mib in grown.items() if mib > MOST_GROWTH_MIB} == {}

        def what_stays() -> dict[str, str]:
            return {
                name: f"{now.descriptors} descriptors, {now.rss / MIB:.0f} MiB; before {was}"
                for name, now in usage_of(servers).items()
                if (was := before[name])
                and (
                    now.descriptors > was.descriptors + OWN_DESCRIPTORS
                    or now.rss > was.rss + LEFT_MIB * MIB
                )
            }

        with suppress(TimeoutError):
            await until(lambda: not what_stays(), BACK_SECONDS)
        assert what_stays() == {}
    assert await asyncio.to_thread(loud_lines, process) == []


def _came(name: str, before: Mapping[str, Usage], most: Mapping[str, Usage]) -> bool:
    """Whether hostile callers of more than one kind were connected to a server at a time."""
    return most[name].descriptors > before[name].descriptors + CALLERS
