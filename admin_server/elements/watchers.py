"""Tells any number of watchers which elements have changed, the slow ones in fewer words."""

from __future__ import annotations

import asyncio


class Watcher:
    """What one watcher has still to be told: each element once, however often it changed."""

    def __init__(self) -> None:
        self._changed: dict[str, None] = {}
        self._any = asyncio.Event()

    def tell(self, storage_element_id: str) -> None:
        """Note a change."""
        self._changed[storage_element_id] = None
        self._any.set()

    async def next(self) -> list[str]:
        """Wait for changes; answers the ids, oldest change first."""
        await self._any.wait()
        self._any.clear()
        changed = list(self._changed)
        self._changed.clear()
        return changed
