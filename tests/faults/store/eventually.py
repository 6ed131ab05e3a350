"""Waiting for what a store does after its caller has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from storage_server.store.port import Store

TRIES = 1000


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask until `condition` holds, for some ten seconds."""
    for _ in range(TRIES):
        if await condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited in vain")


async def no_stages(store: Store) -> bool:
    """Whether a store has no stage left."""
    return not await store.list_stages()


async def some_stage(store: Store) -> bool:
    """Whether a store has a stage."""
    return not await no_stages(store)
