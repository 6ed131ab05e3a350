"""What the audit costs: processor time of feed, admin and PostgreSQL for each change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import asyncpg

from bench.figures import Figure, Spread
from bench.meshes import Mesh
from bench.processor import used_by

AT_ONCE = 8
# A follower that was put off asks again within so long.
TAKE_UP_SECONDS = 12.0
LOOK_SECONDS = 0.25
_DATABASE = "artstore_admin"
_PUT_OFF = "UPDATE audit_cursors SET leader = 'bench', leader_until = now() + interval '1 hour'"
_GO_ON = "UPDATE audit_cursors SET leader_until = '-infinity'"
_FOLLOWED = "SELECT count(*) FROM audit_cursors WHERE epoch <> ''"
_BEHIND = """
    SELECT coalesce(sum(e.sequence - c.sequence), 1) FROM audit_cursors c
    JOIN registry_cursors e USING (storage_element_id, epoch)
"""


async def cost(mesh: Mesh, *, changes: int, rounds: int) -> list[Figure]:
    """Processor time that the audit takes for a change, as a share of an upload's without it.

    The audit is put off while small files are uploaded, and takes all of them then, up to 500 at a
    time. What the same processes use in the same time when nothing is done is left out.
    """
    connection = await asyncpg.connect(mesh.database(_DATABASE))
    try:
        while await connection.fetchval(_FOLLOWED) < len(mesh.storage):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)
        shares = [await _share(mesh, connection, changes) for _ in range(rounds)]
    finally:
        await connection.execute(_GO_ON)
        await connection.close()
    return [
        Figure(
            "audit, processor time of a change, of an upload's",
            Spread.of(shares),
            0.05,
            0.05,
            False,
        )
    ]


async def _share(mesh: Mesh, connection: asyncpg.Connection, changes: int) -> float:
    await connection.execute(_PUT_OFF)
    await asyncio.sleep(1.0)
    every, auditing = _processes(mesh), _processes(mesh, ("admin", "postgres", "se-01"))
    before = _used(every)
    slots = asyncio.Semaphore(AT_ONCE)

    async def upload(number: int) -> None:
        async with slots:
            await mesh.client.upload(b"audited", name=f"audited-{number}.txt")

    await asyncio.gather(*(upload(number) for number in range(changes)))
    # Registry and index follow a little later.
    await asyncio.sleep(2.0)
    uploads = _used(every) - before
    behind = await connection.fetchval(_BEHIND)
    if behind < changes:
        raise RuntimeError(f"the audit was not put off: it lacks {behind} of {changes} changes")
    before = _used(auditing)
    await connection.execute(_GO_ON)
    waited = 0.0
    while waited < TAKE_UP_SECONDS or await connection.fetchval(_BEHIND) > 0:
        await asyncio.sleep(LOOK_SECONDS)
        waited += LOOK_SECONDS
    busy = _used(auditing) - before
    before = _used(auditing)
    await asyncio.sleep(waited)
    idle = _used(auditing) - before
    return (busy - idle) / uploads


def _processes(mesh: Mesh, names: Iterable[str] = ()) -> list[int]:
    wanted = set(names) or set(mesh.processes)
    return [pid for name, pid in mesh.processes.items() if name in wanted]


def _used(processes: Iterable[int]) -> float:
    return sum(used_by(pid).seconds for pid in processes)
