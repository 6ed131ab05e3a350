"""PostgreSQL down or silent: every call ends in time with Unavailable, and works afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from mesh.errors import Unavailable
from mesh.postgres.database import Database
from storage_server.catalog.catalog import Catalog
from storage_server.catalog.fences import Fence, Guard
from storage_server.catalog.tables import Tables
from storage_server.domain.kinds import ChangeKind
from tests.integration.catalog.files import a_sidecar, commit, found, upload
from tests.support.origins import BY_ALICE
from tests.support.services import PostgresProcess


def calls(catalog: Catalog) -> list[Callable[[], Awaitable[object]]]:
    sidecar = a_sidecar()
    return [
        lambda: catalog.reads.get(sidecar.file_id),
        catalog.reads.list_files,
        lambda: catalog.pending.begin_write(
            sidecar.file_id, "p", ChangeKind.CREATED, by=BY_ALICE, revision=1
        ),
        lambda: commit(catalog, sidecar, ChangeKind.CREATED),
        catalog.feed.head,
        catalog.fences.draw,
        catalog.summaries.folders,
        lambda: catalog.merge.merge([found(sidecar)], s0=0, fence=Fence(Guard.LAZY, 1)),
    ]


async def ends_unavailable(call: Callable[[], Awaitable[object]]) -> bool:
    async with asyncio.timeout(5):
        try:
            await call()
        except Unavailable:
            return True
    return False


async def test_every_call_ends_and_the_catalog_recovers(
    own_postgres: PostgresProcess,
) -> None:
    database = Database(own_postgres.create_database(), timeout_seconds=1.0)
    catalog = Catalog(database, Tables("storage_elem_01_"))
    await catalog.open()
    await upload(catalog, a_sidecar())
    try:
        own_postgres.freeze()
        outcomes = await asyncio.gather(*(ends_unavailable(call) for call in calls(catalog)))
        own_postgres.thaw()
        assert all(outcomes)
        async with asyncio.timeout(10):
            while await ends_unavailable(catalog.feed.head):
                pass
        before = (await catalog.feed.head()).sequence
        committed = await upload(catalog, a_sidecar())
        assert committed.sequence == before + 1
        sequences = [change.sequence for change in await catalog.feed.read(0)]
        assert sequences == list(range(1, committed.sequence + 1))
    finally:
        await database.close()
