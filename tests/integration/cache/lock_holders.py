"""Holders of locks that behave badly, and ways to wait for what locks do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mesh.errors import Aborted
from storage_server.catalog.fences import Fence, Guard
from storage_server.locks import ElementLocks, HeldLock, LockKind
from tests.support.cache_rig import CacheRig


async def abandon(locks: ElementLocks, kind: LockKind, *, file_id: str = "") -> HeldLock:
    """Take a lock as a process does that is killed or paused at once: it is never renewed."""
    held, _ = await locks._acquire(kind, file_id, "abandoned", 0.0)
    await locks._announce(held)
    return held


@asynccontextmanager
async def held_by_a_task(
    locks: ElementLocks, kind: LockKind, *, file_id: str = ""
) -> AsyncIterator[asyncio.Task[HeldLock]]:
    """Another task holds a lock and does nothing, until the block ends or it is stopped."""
    taken = asyncio.Event()

    async def hold() -> HeldLock:
        async with locks.hold(kind, operation_id="holding", file_id=file_id) as held:
            taken.set()
            await asyncio.Event().wait()
        return held

    task = asyncio.create_task(hold())
    waiter = asyncio.create_task(taken.wait())
    await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    if task.done():
        task.result()
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def may_write(rig: CacheRig, guard: Guard, fence: int) -> bool:
    try:
        async with rig.catalog.database.transaction() as connection:
            await rig.catalog.fences.require(connection, Fence(guard, fence))
    except Aborted as refused:
        assert refused.reason == "PREEMPTED"
        return False
    return True


def locks_of(rig: CacheRig, holder: str, *, ttl_seconds: float = 15.0) -> ElementLocks:
    return rig.new_process(holder, ttl_seconds=ttl_seconds).locks


async def take(locks: ElementLocks, kind: LockKind, **options: Any) -> int:
    async with locks.hold(kind, operation_id="test", **options) as held:
        return held.fence
