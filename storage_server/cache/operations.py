"""Check, rebuilds and cleanup of one element: under their locks, seen and stopped as operations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Protocol, TypeVar

import structlog
from prometheus_client import Gauge

from mesh.errors import InvalidArgument
from mesh.operations import Operation, Operations
from storage_server.cache.check import Check
from storage_server.cache.cleanup import Cleaned, Cleanup
from storage_server.cache.dropping import DEFAULT_MAX_DELETE_RATIO
from storage_server.cache.rebuild import Rebuild
from storage_server.cache.report import Finding, Level, Report
from storage_server.cache.result import RebuildResult
from storage_server.catalog.fences import Fence, Guard
from storage_server.locks import ElementLocks, HeldLock, LockEntry, LockKind

log = structlog.get_logger("storage_server.cache")

T = TypeVar("T")

PERCENTAGE = Gauge("artstore_cache_inconsistency_percentage", "Of the last check", ["element"])
FOUND = Gauge("artstore_cache_findings", "Of the last check, by kind", ["element", "kind"])
EXPIRED = Gauge("artstore_cache_expired_rows", "Of the last check", ["element"])


class WritesElement(Protocol):
    """Whether this process is the one that may write to the element."""

    @property
    def is_writer(self) -> bool:
        """False for a standby, and for a process whose store is away."""

    def writing(self) -> object:
        """Raise Unavailable unless it is, saying why not."""


class CacheOperations:
    """What CacheService offers, as plain Python. Every call goes on when its caller leaves."""

    def __init__(
        self,
        *,
        element_id: str,
        locks: ElementLocks,
        check: Check,
        rebuild: Rebuild,
        cleanup: Cleanup,
        operations: Operations,
        writer: WritesElement,
    ) -> None:
        self._element_id = element_id
        self._locks = locks
        self._check = check
        self._rebuild = rebuild
        self._cleanup = cleanup
        self._writer = writer
        self.operations = operations

    async def check(
        self, level: Level, *, wait_seconds: float = 0.0, operation_id: str = ""
    ) -> Report:
        """Compare rows with sidecars."""

        async def work(operation: Operation, held: HeldLock) -> Report:
            report = await self._check.run(operation, level)
            self._measure(report)
            return report

        return await self._run(
            LockKind.MANUAL_CHECK, "check", wait_seconds, operation_id, work, asked=level
        )

    async def rebuild(
        self,
        *,
        full: bool,
        wait_seconds: float = 0.0,
        max_delete_ratio: float | None = None,
        restore_names: bool = False,
        operation_id: str = "",
    ) -> RebuildResult:
        """Make rows equal to sidecars; incremental removes nothing.

        Args:
            restore_names: whether files under another form of their names get them back.
        """
        ratio = DEFAULT_MAX_DELETE_RATIO if max_delete_ratio is None else max_delete_ratio
        if not 0 <= ratio <= 1:
            raise InvalidArgument("a share from 0 to 1", field="max_delete_ratio")

        async def work(operation: Operation, held: HeldLock) -> RebuildResult:
            fence = Fence(Guard.REBUILD, held.fence)
            return await self._repair(
                operation, fence, full=full, max_delete_ratio=ratio, restore_names=restore_names
            )

        name, asked = "full" if full else "incremental", (ratio, restore_names)
        return await self._run(
            LockKind.MANUAL_REBUILD, name, wait_seconds, operation_id, work, asked=asked
        )

    async def complete(self, *, wait_seconds: float) -> RebuildResult:
        """Find the files that lack a row, as an incremental that nobody asked for.

        It is work in the background: whatever an operator asks for takes the element over.
        """

        async def work(operation: Operation, held: HeldLock) -> RebuildResult:
            return await self._repair(operation, Fence(Guard.CLEANUP, held.fence), full=False)

        return await self._run(LockKind.BACKGROUND_CLEANUP, "completion", wait_seconds, "", work)

    async def cleanup(self, *, wait_seconds: float = 0.0, operation_id: str = "") -> Cleaned:
        """Remove expired rows; their files stay readable."""

        async def work(operation: Operation, held: HeldLock) -> Cleaned:
            return await self._cleanup.run(operation, Fence(Guard.CLEANUP, held.fence))

        return await self._run(
            LockKind.BACKGROUND_CLEANUP, "cleanup", wait_seconds, operation_id, work
        )

    async def list_locks(self) -> Sequence[LockEntry]:
        """The locks held on the element."""
        return await self._locks.list_locks()

    async def release_lock(self, kind: LockKind, *, file_id: str, fence: int | None) -> bool:
        """Take a lock away from its holder; False when there was none."""
        if (kind is LockKind.LAZY_REBUILD) != bool(file_id):
            raise InvalidArgument("a LAZY_REBUILD has a file_id, others none", field="file_id")
        return await self._locks.seize(kind, file_id=file_id, fence=fence or 0)

    async def _repair(
        self,
        operation: Operation,
        fence: Fence,
        *,
        full: bool,
        max_delete_ratio: float = DEFAULT_MAX_DELETE_RATIO,
        restore_names: bool = False,
    ) -> RebuildResult:
        result, verified = await self._rebuild.run(
            operation,
            fence,
            full=full,
            max_delete_ratio=max_delete_ratio,
            restore_names=restore_names,
        )
        self._check.remember(verified)
        return result

    async def _run(
        self,
        kind: LockKind,
        name: str,
        wait_seconds: float,
        operation_id: str,
        work: Callable[[Operation, HeldLock], Awaitable[T]],
        *,
        asked: Hashable = None,
    ) -> T:
        if not 0 <= wait_seconds <= 3600:
            raise InvalidArgument("0 to 3600 seconds", field="wait_seconds")
        if not self._writer.is_writer:
            self._writer.writing()

        async def locked(operation: Operation) -> T:
            async with self._locks.hold(
                kind, operation_id=operation.operation_id, wait_seconds=wait_seconds
            ) as held:
                return await work(operation, held)

        return await self.operations.run(name, operation_id, locked, asked=asked)

    def _measure(self, report: Report) -> None:
        PERCENTAGE.labels(self._element_id).set(report.inconsistency_percentage)
        EXPIRED.labels(self._element_id).set(report.expired_count)
        for finding in Finding:
            FOUND.labels(self._element_id, finding.value).set(report.count(finding))
