"""A second home of a file is settled when its feed brings it, however many files there are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest_asyncio

from admin_server.life.settling import Settled
from admin_server.life.sweep import Sweep
from admin_server.registry.replicas import RegistryReplicas
from mesh.errors import Unavailable
from mesh.postgres.database import Database
from tests.integration.admin.registry_rows import a_file, put


@pytest_asyncio.fixture(loop_scope="session")
async def replicas(admin_tables: Database) -> RegistryReplicas:
    """With five files on one element."""
    for table in ("file_registry", "registry_cursors", "unsettled", "leases"):
        await admin_tables.execute(f"DELETE FROM {table}")
    replicas = RegistryReplicas(admin_tables)
    await put(replicas, "se-01", *(a_file(number) for number in range(5)))
    return replicas


class Swept:
    """A sweep that comes to one file at a time, and what it would settle."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._asked: list[str] = []
        settling: Any = SimpleNamespace(settle=self._settle)
        self._sweep = Sweep(database, settling, seconds=60, rows_of_all=1)

    async def once(self) -> list[str]:
        self._asked.clear()
        await self._database.execute("UPDATE unsettled SET due_at = now()")
        await self._sweep.once()
        return sorted(self._asked)

    async def _settle(self, file_id: str) -> Settled:
        self._asked.append(file_id)
        raise Unavailable("only looked for")


async def test_a_second_home_is_settled_at_once_until_it_is_none_any_more(
    replicas: RegistryReplicas,
) -> None:
    database = replicas.database
    swept = Swept(database)
    await put(replicas, "se-02", a_file(3, state="ACTIVE"), a_file(4, state="DELETED"))
    assert await swept.once() == ["file-3", "file-4"]
    # Whatever came of it: it is looked at again while the feeds tell of two.
    assert await swept.once() == ["file-3", "file-4"]
    await put(replicas, "se-01", a_file(3, state="GONE", revision=2))
    assert await swept.once() == ["file-4"]
    await put(replicas, "se-02", a_file(4, state="COPY", revision=2))
    assert await swept.once() == []
    assert await database.fetchval("SELECT count(*) FROM unsettled") == 0


async def test_copies_and_what_is_on_its_way_are_no_second_homes(
    replicas: RegistryReplicas,
) -> None:
    database = replicas.database
    swept = Swept(database)
    await put(replicas, "se-02", a_file(3, state="COPY"), a_file(4, state="INCOMING"))
    assert await database.fetchval("SELECT count(*) FROM unsettled") == 0
    # Of a move the target may be heard of first; it has its moment, and its own worker.
    await put(replicas, "se-02", a_file(4, state="ACTIVE", revision=2))
    assert await database.fetchval("SELECT min(due_at) > now() FROM unsettled")
    await database.execute(
        "INSERT INTO transfers (transfer_id, kind, file_id, namespace, source, target, state,"
        " size_bytes, requested_by, request_id) VALUES"
        " ('t', 'move', 'file-4', 'default', 'se-01', 'se-02', 'switching', 1, 'alice', '')"
    )
    assert await swept.once() == []
    await database.execute("DELETE FROM transfers")
    assert await swept.once() == ["file-4"]
