"""What a store has of uploads that are open, to wait for."""

from __future__ import annotations

from storage_server.store.port import Store


async def no_stages(store: Store) -> bool:
    """Whether a store has no stage left."""
    return not await store.list_stages()


async def some_stage(store: Store) -> bool:
    """Whether a store has a stage."""
    return not await no_stages(store)
