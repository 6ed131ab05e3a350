"""CacheService: each call is turned into one of plain Python."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from artstore.v1 import cache_pb2
from artstore.v1.cache_pb2_grpc import CacheServiceServicer
from mesh.errors import InvalidArgument
from mesh.operations.servicer import KINDS
from mesh.paging import AskedPage
from storage_server.cache.operations import CacheOperations
from storage_server.cache.report import Finding, Level, Report
from storage_server.cache.result import RebuildResult
from storage_server.locks import LockEntry, LockKind

_LEVELS = {
    cache_pb2.CheckLevel.CHECK_LEVEL_UNSPECIFIED: Level.FULL,
    cache_pb2.CheckLevel.CHECK_LEVEL_QUICK: Level.QUICK,
    cache_pb2.CheckLevel.CHECK_LEVEL_FULL: Level.FULL,
    cache_pb2.CheckLevel.CHECK_LEVEL_DEEP: Level.DEEP,
}
_LEVEL_OF = {
    Level.QUICK: cache_pb2.CheckLevel.CHECK_LEVEL_QUICK,
    Level.FULL: cache_pb2.CheckLevel.CHECK_LEVEL_FULL,
    Level.DEEP: cache_pb2.CheckLevel.CHECK_LEVEL_DEEP,
}


def _stamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def _report(report: Report) -> cache_pb2.ConsistencyReport:
    return cache_pb2.ConsistencyReport(
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
        details=cache_pb2.ConsistencyDetails(
            expired_entries=report.expired_ids,
            **{finding.value: report.details(finding) for finding in Finding},
        ),
        duration_seconds=report.duration_seconds,
        storage_element_id=report.element_id,
        operation_id=report.operation_id,
        started_at=_stamp(report.started_at),
    )


def _result(result: RebuildResult) -> cache_pb2.RebuildResult:
    completed = result.completed_at or result.started_at
    return cache_pb2.RebuildResult(
        operation_kind=KINDS[result.kind],
        started_at=_stamp(result.started_at),
        completed_at=_stamp(completed),
        duration_seconds=(completed - result.started_at).total_seconds(),
        statistics=cache_pb2.RebuildStatistics(
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


def _lock(lock: LockEntry) -> cache_pb2.Lock:
    return cache_pb2.Lock(
        kind=cache_pb2.LockKind.ValueType(int(lock.kind)),
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
        self, request: cache_pb2.CheckConsistencyRequest, context: Any
    ) -> cache_pb2.CheckConsistencyResponse:
        """See the proto."""
        if request.level not in _LEVELS:
            raise InvalidArgument("not a level", field="level")
        report = await self._cache.check(
            _LEVELS[request.level],
            wait_seconds=request.wait_seconds,
            operation_id=request.operation_id,
        )
        return cache_pb2.CheckConsistencyResponse(report=_report(report))

    async def RebuildCache(
        self, request: cache_pb2.RebuildCacheRequest, context: Any
    ) -> cache_pb2.RebuildCacheResponse:
        """See the proto."""
        given = request.HasField("max_delete_ratio")
        result = await self._cache.rebuild(
            full=True,
            wait_seconds=request.wait_seconds,
            max_delete_ratio=request.max_delete_ratio if given else None,
            restore_names=request.restore_names,
            operation_id=request.operation_id,
        )
        return cache_pb2.RebuildCacheResponse(result=_result(result))

    async def RebuildCacheIncremental(
        self, request: cache_pb2.RebuildCacheIncrementalRequest, context: Any
    ) -> cache_pb2.RebuildCacheIncrementalResponse:
        """See the proto."""
        result = await self._cache.rebuild(
            full=False, wait_seconds=request.wait_seconds, operation_id=request.operation_id
        )
        return cache_pb2.RebuildCacheIncrementalResponse(result=_result(result))

    async def CleanupExpired(
        self, request: cache_pb2.CleanupExpiredRequest, context: Any
    ) -> cache_pb2.CleanupExpiredResponse:
        """See the proto."""
        cleaned = await self._cache.cleanup(
            wait_seconds=request.wait_seconds, operation_id=request.operation_id
        )
        return cache_pb2.CleanupExpiredResponse(
            deleted_count=cleaned.deleted_count, duration_seconds=cleaned.duration_seconds
        )

    async def ListLocks(
        self, request: cache_pb2.ListLocksRequest, context: Any
    ) -> cache_pb2.ListLocksResponse:
        """See the proto."""
        asked = AskedPage.of(request, ("locks",), int, str)
        locks = await self._cache.list_locks()
        page, token = asked.page_of_all(locks, lambda lock: (int(lock.kind), lock.file_id))
        return cache_pb2.ListLocksResponse(
            locks=[_lock(lock) for lock in page], next_page_token=token, total_size=len(locks)
        )

    async def ReleaseLock(
        self, request: cache_pb2.ReleaseLockRequest, context: Any
    ) -> cache_pb2.ReleaseLockResponse:
        """See the proto."""
        if request.kind not in {int(kind) for kind in LockKind}:
            raise InvalidArgument("name the kind of lock", field="kind")
        released = await self._cache.release_lock(
            LockKind(request.kind),
            file_id=request.file_id,
            fence=request.fence if request.HasField("fence") else None,
        )
        return cache_pb2.ReleaseLockResponse(released=released)
