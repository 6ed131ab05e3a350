"""The cache of one storage element: CacheService as plain calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from math import ceil

from artstore.v1 import cache_pb2, operations_pb2
from artstore_client import errors
from artstore_client.calls.connection import Connection
from artstore_client.calls.pages import pages
from artstore_client.contract import MAX_PAGE_SIZE

# A watch may come a moment before the operation that it is about.
_NOT_STARTED_SECONDS = 2.0


class CacheCalls:
    """Checks, rebuilds and cleanups of one element's cache; get it from `Client.cache`.

    The long calls wait until the element is done (`Timeouts.operation`). An element goes on when
    the caller leaves; `cancel` stops it. Name an operation (`operation_id`) to watch it from
    another task. Each raises Aborted, reason LOCK_HELD or PREEMPTED, when something with the
    same or a higher priority works on the element, and Unavailable when the lock store, the
    database or the storage is down.
    """

    def __init__(self, connection: Connection, element_id: str) -> None:
        self._connection = connection
        self._calls = connection.calls
        self.element_id = element_id

    async def check(
        self,
        level: cache_pb2.CheckLevel.ValueType = cache_pb2.CHECK_LEVEL_FULL,
        *,
        wait_seconds: float = 0.0,
        operation_id: str = "",
    ) -> cache_pb2.ConsistencyReport:
        """Compare rows with sidecars; changes nothing.

        Args:
            level: QUICK, FULL (default) or DEEP, which hashes every blob.
            wait_seconds: how long to wait for a lock that is held, in whole seconds (more is
                rounded up); 0 means not at all.
        """
        stub = await self._connection.cache(self.element_id)
        answer = await self._calls.unary(
            stub.CheckConsistency,
            cache_pb2.CheckConsistencyRequest(
                level=level, wait_seconds=ceil(wait_seconds), operation_id=operation_id
            ),
            doing=f"CheckConsistency on {self.element_id}",
            timeout_seconds=self._connection.timeouts.operation,
        )
        return answer.report

    async def rebuild(
        self,
        *,
        wait_seconds: float = 0.0,
        max_delete_ratio: float | None = None,
        restore_names: bool = False,
        operation_id: str = "",
    ) -> cache_pb2.RebuildResult:
        """Make rows equal to sidecars.

        Args:
            wait_seconds: how long to wait for a lock that is held, in whole seconds (more is
                rounded up); 0 means not at all.
            max_delete_ratio: largest share of rows that may go, 0 to 1; default 0.1, and only
                when more than 100 would go.
            restore_names: whether renamed files get their recorded names back; default False.

        Raises:
            FailedPrecondition: reason MAX_DELETE_RATIO; all but the removal is done.
        """
        stub = await self._connection.cache(self.element_id)
        answer = await self._calls.unary(
            stub.RebuildCache,
            cache_pb2.RebuildCacheRequest(
                wait_seconds=ceil(wait_seconds),
                max_delete_ratio=max_delete_ratio,
                restore_names=restore_names,
                operation_id=operation_id,
            ),
            doing=f"RebuildCache on {self.element_id}",
            timeout_seconds=self._connection.timeouts.operation,
        )
        return answer.result

    async def incremental(
        self, *, wait_seconds: float = 0.0, operation_id: str = ""
    ) -> cache_pb2.RebuildResult:
        """Add what is missing and refresh what changed; removes nothing."""
        stub = await self._connection.cache(self.element_id)
        answer = await self._calls.unary(
            stub.RebuildCacheIncremental,
            cache_pb2.RebuildCacheIncrementalRequest(
                wait_seconds=ceil(wait_seconds), operation_id=operation_id
            ),
            doing=f"RebuildCacheIncremental on {self.element_id}",
            timeout_seconds=self._connection.timeouts.operation,
        )
        return answer.result

    async def cleanup(
        self, *, wait_seconds: float = 0.0, operation_id: str = ""
    ) -> cache_pb2.CleanupExpiredResponse:
        """Remove expired rows; their files stay readable."""
        stub = await self._connection.cache(self.element_id)
        return await self._calls.unary(
            stub.CleanupExpired,
            cache_pb2.CleanupExpiredRequest(
                wait_seconds=ceil(wait_seconds), operation_id=operation_id
            ),
            doing=f"CleanupExpired on {self.element_id}",
            timeout_seconds=self._connection.timeouts.operation,
        )

    async def watch(self, operation_id: str = "") -> AsyncGenerator[operations_pb2.Operation, None]:
        """Progress of an operation until it ends; the last message has its final state.

        Args:
            operation_id: empty means the one that runs now, or the last one.

        Raises:
            NotFound: there is none, also not within two seconds if it was named.
        """
        stub = await self._connection.operations(self.element_id)
        request = operations_pb2.WatchOperationRequest(operation_id=operation_id or None)
        loop = asyncio.get_running_loop()
        patient_until = loop.time() + (_NOT_STARTED_SECONDS if operation_id else 0.0)
        told = False
        while True:
            try:
                async with aclosing(
                    self._calls.stream(
                        stub.WatchOperation,
                        request,
                        doing=f"WatchOperation on {self.element_id}",
                        # Keepalive notices a dead server; a long phase may have nothing to tell.
                        idle_seconds=self._connection.timeouts.operation,
                    )
                ) as answers:
                    async for answer in answers:
                        yield answer.operation
                        # Of which operation, also when another one begins meanwhile.
                        request.operation_id, told = answer.operation.operation_id, True
                return
            except errors.Unauthenticated as error:
                # The stream ends with its token; a new one goes on.
                if error.reason != "TOKEN_EXPIRED" or not told:
                    raise
                told = False
            except errors.NotFound:
                if loop.time() >= patient_until:
                    raise
            await asyncio.sleep(0.05)

    async def cancel(self, operation_id: str) -> operations_pb2.OperationState.ValueType:
        """Ask an operation to stop; answers its state when it was told."""
        stub = await self._connection.operations(self.element_id)
        answer = await self._calls.unary(
            stub.CancelOperation,
            operations_pb2.CancelOperationRequest(operation_id=operation_id),
            doing=f"CancelOperation on {self.element_id}",
        )
        return answer.operation.state

    async def locks(self) -> list[cache_pb2.Lock]:
        """Locks that are held, highest priority first."""
        stub = await self._connection.cache(self.element_id)

        async def ask(token: str) -> cache_pb2.ListLocksResponse:
            return await self._calls.unary(
                stub.ListLocks,
                cache_pb2.ListLocksRequest(page_size=MAX_PAGE_SIZE, page_token=token),
                doing=f"ListLocks on {self.element_id}",
            )

        return [lock async for page in pages(ask) for lock in page.locks]

    async def release(
        self, kind: cache_pb2.LockKind.ValueType, *, file_id: str = "", fence: int = 0
    ) -> bool:
        """Take a lock away from its holder, which can then write no more.

        Args:
            file_id: the file of a LAZY_REBUILD.
            fence: only if the lock has this fence; 0 sets no condition.

        Returns:
            Whether there was one.
        """
        stub = await self._connection.cache(self.element_id)
        answer = await self._calls.unary(
            stub.ReleaseLock,
            cache_pb2.ReleaseLockRequest(kind=kind, file_id=file_id, fence=fence or None),
            doing=f"ReleaseLock on {self.element_id}",
        )
        return answer.released
