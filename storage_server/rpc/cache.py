"""CacheService: each call is turned into one of plain Python."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from artstore.v1 import cache_pb2 as pb
from artstore.v1.cache_pb2_grpc import CacheServiceServicer
from mesh.errors import InvalidArgument
from storage_server.cache_operations import CacheOperations
from storage_server.consistency.report import Finding, Level, Report
from storage_server.locks import LockEntry, LockKind
from storage_server.operations import Operation, State
from storage_server.repair.result import RebuildResult

WATCH_INTERVAL_SECONDS = 0.25
DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000

_LEVELS = {
    pb.CheckLevel.CHECK_LEVEL_UNSPECIFIED: Level.FULL,
    pb.CheckLevel.CHECK_LEVEL_QUICK: Level.QUICK,
    pb.CheckLevel.CHECK_LEVEL_FULL: Level.FULL,
    pb.CheckLevel.CHECK_LEVEL_DEEP: Level.DEEP,
}
_LEVEL_OF = {
    Level.QUICK: pb.CheckLevel.CHECK_LEVEL_QUICK,
    Level.FULL: pb.CheckLevel.CHECK_LEVEL_FULL,
    Level.DEEP: pb.CheckLevel.CHECK_LEVEL_DEEP,
}
_STATES = {
    State.WAITING: pb.OperationState.OPERATION_STATE_WAITING,
    State.RUNNING: pb.OperationState.OPERATION_STATE_RUNNING,
    State.SUCCEEDED: pb.OperationState.OPERATION_STATE_SUCCEEDED,
    State.FAILED: pb.OperationState.OPERATION_STATE_FAILED,
    State.CANCELLED: pb.OperationState.OPERATION_STATE_CANCELLED,
    State.PREEMPTED: pb.OperationState.OPERATION_STATE_PREEMPTED,
}


def _stamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def _report(report: Report) -> pb.ConsistencyReport:
    return pb.ConsistencyReport(
        total_attr_files=report.total_attr_files,
        total_cache_entries=report.total_cache_entries,
        orphan_cache_count=report.count(Finding.ORPHAN_CACHE),
        orphan_attr_count=report.count(Finding.ORPHAN_ATTR),
        expired_cache_count=report.expired_count,
        is_consistent=report.is_consistent,
        inconsistency_percentage=report.inconsistency_percentage,
        stale_cache_count=report.count(Finding.STALE),
        invalid_attr_count=report.count(Finding.INVALID_ATTR),
        missing_blob_count=report.count(Finding.MISSING_BLOB),
        orphan_blob_count=report.count(Finding.ORPHAN_BLOB),
        renamed_count=report.count(Finding.RENAMED),
        level=_LEVEL_OF[report.level],
        sequence=report.sequence,
        details=pb.ConsistencyDetails(
            expired_entries=report.expired_ids,
            **{finding.value: report.details(finding) for finding in Finding},
        ),
        duration_seconds=report.duration_seconds,
        storage_element_id=report.element_id,
        operation_id=report.operation_id,
        started_at=_stamp(report.started_at),
    )


def _result(result: RebuildResult) -> pb.RebuildResult:
    completed = result.completed_at or result.started_at
    return pb.RebuildResult(
        operation_type=result.operation_type,
        started_at=_stamp(result.started_at),
        completed_at=_stamp(completed),
        duration_seconds=(completed - result.started_at).total_seconds(),
        statistics=pb.RebuildStatistics(
            attr_files_scanned=result.attr_files_scanned,
            cache_entries_before=result.cache_entries_before,
            cache_entries_after=result.cache_entries_after,
            entries_created=result.entries_created,
            entries_updated=result.entries_updated,
            entries_deleted=result.entries_deleted,
            names_restored=result.names_restored,
        ),
        errors=result.errors,
        error_count=result.error_count,
        operation_id=result.operation_id,
    )


def _progress(operation: Operation) -> pb.WatchOperationResponse:
    return pb.WatchOperationResponse(
        operation_id=operation.operation_id,
        operation_type=operation.operation_type,
        state=_STATES[operation.state],
        phase=operation.phase,
        done=operation.done,
        total=operation.total,
        rate=operation.rate,
        findings=operation.findings,
        error=operation.error,
        started_at=_stamp(operation.started_at),
    )


def _lock(lock: LockEntry) -> pb.Lock:
    return pb.Lock(
        kind=pb.LockKind.ValueType(int(lock.kind)),
        file_id=lock.file_id,
        holder=lock.holder,
        operation_id=lock.operation_id,
        fence=lock.fence,
        acquired_at=_stamp(lock.since),
        expires_at=_stamp(lock.expires),
    )


class CacheServicer(CacheServiceServicer):
    """Handlers in the order of the proto."""

    def __init__(self, cache: CacheOperations) -> None:
        self._cache = cache

    async def CheckConsistency(
        self, request: pb.CheckConsistencyRequest, context: Any
    ) -> pb.CheckConsistencyResponse:
        """See the proto."""
        if request.level not in _LEVELS:
            raise InvalidArgument("not a level", field="level")
        report = await self._cache.check(
            _LEVELS[request.level],
            wait_seconds=request.wait_seconds,
            operation_id=request.operation_id,
        )
        return pb.CheckConsistencyResponse(report=_report(report))

    async def RebuildCache(
        self, request: pb.RebuildCacheRequest, context: Any
    ) -> pb.RebuildCacheResponse:
        """See the proto."""
        given = request.HasField("max_delete_ratio")
        result = await self._cache.rebuild(
            full=True,
            wait_seconds=request.wait_seconds,
            max_delete_ratio=request.max_delete_ratio if given else None,
            restore_names=request.restore_names,
            operation_id=request.operation_id,
        )
        return pb.RebuildCacheResponse(result=_result(result))

    async def RebuildCacheIncremental(
        self, request: pb.RebuildCacheIncrementalRequest, context: Any
    ) -> pb.RebuildCacheIncrementalResponse:
        """See the proto."""
        result = await self._cache.rebuild(
            full=False, wait_seconds=request.wait_seconds, operation_id=request.operation_id
        )
        return pb.RebuildCacheIncrementalResponse(result=_result(result))

    async def CleanupExpired(
        self, request: pb.CleanupExpiredRequest, context: Any
    ) -> pb.CleanupExpiredResponse:
        """See the proto."""
        cleaned = await self._cache.cleanup(
            wait_seconds=request.wait_seconds, operation_id=request.operation_id
        )
        return pb.CleanupExpiredResponse(
            deleted_count=cleaned.deleted_count, duration_seconds=cleaned.duration_seconds
        )

    async def WatchOperation(
        self, request: pb.WatchOperationRequest, context: Any
    ) -> AsyncIterator[pb.WatchOperationResponse]:
        """See the proto."""
        operation = self._cache.operations.find(request.operation_id)
        while True:
            moved = operation.next_move()
            yield _progress(operation)
            if operation.state.ended:
                return
            await moved.wait()
            if not operation.state.ended:
                await asyncio.sleep(WATCH_INTERVAL_SECONDS)

    async def CancelOperation(
        self, request: pb.CancelOperationRequest, context: Any
    ) -> pb.CancelOperationResponse:
        """See the proto."""
        state = self._cache.operations.cancel(request.operation_id)
        return pb.CancelOperationResponse(state=_STATES[state])

    async def ListLocks(self, request: pb.ListLocksRequest, context: Any) -> pb.ListLocksResponse:
        """See the proto."""
        token = request.page_token
        if token and not (token.isascii() and token.isdecimal() and len(token) < 10):
            raise InvalidArgument("not a page token of this list", field="page_token")
        if request.page_size < 0:
            raise InvalidArgument("must not be negative", field="page_size")
        start = int(token or 0)
        size = min(request.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        locks = await self._cache.list_locks()
        more = start + size < len(locks)
        return pb.ListLocksResponse(
            locks=[_lock(lock) for lock in locks[start : start + size]],
            next_page_token=str(start + size) if more else "",
            total_size=len(locks),
        )

    async def ReleaseLock(
        self, request: pb.ReleaseLockRequest, context: Any
    ) -> pb.ReleaseLockResponse:
        """See the proto."""
        if request.kind not in {int(kind) for kind in LockKind}:
            raise InvalidArgument("name the kind of lock", field="kind")
        released = await self._cache.release_lock(
            LockKind(request.kind), file_id=request.file_id, fence=request.fence
        )
        return pb.ReleaseLockResponse(released=released)
