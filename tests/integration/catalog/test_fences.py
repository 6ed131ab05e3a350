"""Fences only grow, and the latest holder writes alone."""

from __future__ import annotations

import asyncio

import pytest

from mesh.errors import Aborted
from storage_server.catalog.catalog import Catalog
from storage_server.catalog.fences import Fence, Guard
from tests.integration.catalog.back_door import on_both
from tests.integration.catalog.files import AnyCatalog


async def holds(catalog: Catalog, guard: Guard, number: int) -> bool:
    try:
        async with catalog.database.transaction() as connection:
            await catalog.fences.require(connection, Fence(guard, number))
    except Aborted as refused:
        assert refused.reason == "PREEMPTED"
        return False
    return True


@on_both
async def test_drawn_fences_are_distinct_and_grow(catalog: AnyCatalog) -> None:
    drawn = await asyncio.gather(*(catalog.fences.draw() for _ in range(30)))
    assert len(set(drawn)) == 30
    assert await catalog.fences.draw() > max(drawn)


async def test_draws_go_on_above_what_the_lock_store_remembers(catalog: Catalog) -> None:
    await catalog.fences.setval_at_least(500)
    assert await catalog.fences.draw() == 501
    await catalog.fences.setval_at_least(100)
    assert await catalog.fences.draw() == 502


async def test_a_rebuild_shuts_out_all_lower_fences(catalog: Catalog) -> None:
    await catalog.fences.raise_cleanup(3)
    assert await holds(catalog, Guard.LAZY, 1)
    assert await holds(catalog, Guard.CLEANUP, 3)
    await catalog.fences.raise_rebuild(5)
    assert await holds(catalog, Guard.REBUILD, 5)
    assert not await holds(catalog, Guard.REBUILD, 4)
    assert not await holds(catalog, Guard.LAZY, 4)
    assert not await holds(catalog, Guard.CLEANUP, 3)
    assert await holds(catalog, Guard.LAZY, 6)


async def test_lazy_refreshes_do_not_shut_each_other_out(catalog: Catalog) -> None:
    for number in (9, 7, 8):
        assert await holds(catalog, Guard.LAZY, number)


async def test_a_later_cleanup_shuts_out_an_earlier_one(catalog: Catalog) -> None:
    await catalog.fences.raise_cleanup(3)
    await catalog.fences.raise_cleanup(4)
    assert not await holds(catalog, Guard.CLEANUP, 3)
    assert await holds(catalog, Guard.CLEANUP, 4)


async def test_a_fence_is_raised_only_upwards(catalog: Catalog) -> None:
    await catalog.fences.raise_rebuild(5)
    with pytest.raises(Aborted):
        await catalog.fences.raise_rebuild(5)
    with pytest.raises(Aborted):
        await catalog.fences.raise_cleanup(4)


async def test_a_rebuild_waits_for_guarded_transactions_under_way(catalog: Catalog) -> None:
    async with catalog.database.transaction() as connection:
        await catalog.fences.require(connection, Fence(Guard.LAZY, 1))
        raising = asyncio.create_task(catalog.fences.raise_rebuild(2))
        done, _ = await asyncio.wait([raising], timeout=0.1)
        assert not done
    await raising
    assert not await holds(catalog, Guard.LAZY, 1)
