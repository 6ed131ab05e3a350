"""Locks by key within this process, as for files, upload ids and request ids.

One process writes an element (correctness 1), so these are enough to order its writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from types import TracebackType


class KeyedLocks:
    """A lock for each key, kept only while somebody holds it or waits for it.

    `async with locks.hold(key):` waits in the order of asking. Not reentrant.
    """

    def __init__(self) -> None:
        self._locks: dict[Hashable, asyncio.Lock] = {}
        self._users: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._locks)

    def hold(self, key: Hashable) -> _Holding:
        """The lock of `key`, for an `async with` block."""
        return _Holding(self, key)

    def is_held(self, key: Hashable) -> bool:
        """Whether somebody holds it now."""
        return key in self._locks

    async def _acquire(self, key: Hashable) -> None:
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        self._users[key] = self._users.get(key, 0) + 1
        try:
            await lock.acquire()
        except BaseException:
            self._leave(key)
            raise

    def _release(self, key: Hashable) -> None:
        self._locks[key].release()
        self._leave(key)

    def _leave(self, key: Hashable) -> None:
        self._users[key] -= 1
        if not self._users[key]:
            del self._users[key], self._locks[key]


class _Holding:
    __slots__ = ("_key", "_locks")

    def __init__(self, locks: KeyedLocks, key: Hashable) -> None:
        self._locks = locks
        self._key = key

    async def __aenter__(self) -> None:
        await self._locks._acquire(self._key)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._locks._release(self._key)
