"""The lock around the refresh of one file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from storage_server.locks.kinds import LockKind
from storage_server.locks.locks import ElementLocks


class LazyLocks:
    """Lets a refresh begin only while no rebuild has the element and nobody else the file."""

    def __init__(self, locks: ElementLocks) -> None:
        self._locks = locks

    @asynccontextmanager
    async def hold(self, file_id: str) -> AsyncIterator[int]:
        """Hold the lock of one file, and answer its fence; it is never waited for.

        Raises:
            Aborted: a rebuild has the element or takes it over, or another process refreshes
                this file.
            Unavailable: Valkey or PostgreSQL is down or silent.
        """
        self._locks.require_no_rebuild_here()
        async with self._locks.hold(
            LockKind.LAZY_REBUILD, operation_id="", file_id=file_id
        ) as held:
            yield held.fence
