"""One storage element as the benchmarks use it: its calls, and its rows behind its back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import grpc.aio

from artstore.v1 import (
    cache_pb2,
    cache_pb2_grpc,
    storage_pb2,
    storage_pb2_grpc,
    types_pb2,
    uploads_pb2,
)
from bench.meshes import Mesh

# Whoever follows an element: the replica's database and the table of its cursors.
FOLLOWERS = {
    "query": ("artstore_query", "sync_cursors"),
    "admin": ("artstore_admin", "registry_cursors"),
}
# A million rows take half an hour where each takes 1.8 ms.
SETTLE_SECONDS = 3600.0
# An element repairs itself before it tells a follower everything, which holds the lock too.
WAIT_SECONDS = 120


@dataclass(frozen=True, slots=True)
class BenchElement:
    """Calls of one element, all by the first account, and a connection to its database."""

    name: str
    mesh: Mesh
    endpoint: str
    cache: cache_pb2_grpc.CacheServiceAsyncStub
    storage: storage_pb2_grpc.StorageServiceAsyncStub
    database: asyncpg.Connection[Any]

    @classmethod
    @asynccontextmanager
    async def of(cls, mesh: Mesh, name: str) -> AsyncIterator[BenchElement]:
        """The element `se-NN` of a mesh, until the context ends."""
        database = await asyncpg.connect(mesh.database_url)
        try:
            async with grpc.aio.insecure_channel(mesh.storage[name]) as channel:
                yield cls(
                    name,
                    mesh,
                    mesh.storage[name],
                    cache_pb2_grpc.CacheServiceStub(channel),
                    storage_pb2_grpc.StorageServiceStub(channel),
                    database,
                )
        finally:
            await database.close()

    @property
    def table(self) -> str:
        """The table of its rows."""
        return f"storage_elem_{self.name.removeprefix('se-')}_files"

    async def upload(self, header: uploads_pb2.UploadHeader, data: bytes) -> types_pb2.File:
        """Upload one small file to this very element."""
        request = uploads_pb2.UploadRequest
        call = self.storage.Upload(metadata=await self.mesh.metadata())
        await call.write(request(header=header))
        await call.write(request(chunk=types_pb2.Chunk(data=data)))
        await call.write(request(finish=uploads_pb2.UploadFinish(size_bytes=len(data))))
        await call.done_writing()
        file: types_pb2.File = (await call).file
        return file

    async def get(self, file_id: str) -> types_pb2.File:
        """GetFile."""
        request = storage_pb2.StorageServiceGetFileRequest(file_id=file_id)
        answer = await self.storage.GetFile(request, metadata=await self.mesh.metadata())
        file: types_pb2.File = answer.file
        return file

    async def rebuild(self) -> cache_pb2.RebuildStatistics:
        """Rebuild in full, without an error."""
        answer = await self.cache.RebuildCache(
            cache_pb2.RebuildCacheRequest(wait_seconds=WAIT_SECONDS),
            metadata=await self.mesh.metadata(),
        )
        return _sound(answer.result)

    async def incremental(self) -> cache_pb2.RebuildStatistics:
        """Rebuild what is new, without an error."""
        answer = await self.cache.RebuildCacheIncremental(
            cache_pb2.RebuildCacheIncrementalRequest(wait_seconds=WAIT_SECONDS),
            metadata=await self.mesh.metadata(),
        )
        return _sound(answer.result)

    async def check(self, level: cache_pb2.CheckLevel.ValueType) -> cache_pb2.ConsistencyReport:
        """Check; the element must be consistent."""
        answer = await self.cache.CheckConsistency(
            cache_pb2.CheckConsistencyRequest(level=level, wait_seconds=WAIT_SECONDS),
            metadata=await self.mesh.metadata(),
        )
        report: cache_pb2.ConsistencyReport = answer.report
        if not report.is_consistent:
            raise RuntimeError(f"the element measured is not consistent: {report}")
        return report

    async def cleanup(self) -> int:
        """Remove expired rows; how many."""
        answer = await self.cache.CleanupExpired(
            cache_pb2.CleanupExpiredRequest(wait_seconds=WAIT_SECONDS),
            metadata=await self.mesh.metadata(),
        )
        return int(answer.deleted_count)

    async def forget_rows(self) -> None:
        """Empty the table of its rows."""
        await self.database.execute(f"TRUNCATE {self.table}")

    async def expire_rows(self) -> None:
        """Make all rows a year old."""
        await self.database.execute(
            f"UPDATE {self.table} SET cache_updated_at = now() - interval '1 year'"
        )

    async def settle(self, *names: str) -> None:
        """Wait until admin and query, or those named, have followed: they share the processor.

        Raises:
            TimeoutError: they did not within SETTLE_SECONDS.
        """
        head = await self.database.fetchval(
            f"SELECT seq FROM {self.table.removesuffix('files')}feed_head"
        )
        async with asyncio.timeout(SETTLE_SECONDS):
            for name in names or FOLLOWERS:
                database, table = FOLLOWERS[name]
                follower = await asyncpg.connect(self.mesh.database(database))
                try:
                    await _reaches(follower, table, self.name, head)
                finally:
                    await follower.close()


async def _reaches(follower: asyncpg.Connection[Any], table: str, element: str, head: int) -> None:
    while True:
        sequence = await follower.fetchval(
            f"SELECT sequence FROM {table} WHERE storage_element_id = $1", element
        )
        if (sequence or 0) >= head:
            return
        await asyncio.sleep(0.1)


def _sound(result: cache_pb2.RebuildResult) -> cache_pb2.RebuildStatistics:
    if result.error_count:
        raise RuntimeError(f"the rebuild measured met errors: {list(result.errors)}")
    return result.statistics


async def seconds(work: Awaitable[Any]) -> float:
    """How long it takes, as the caller sees it."""
    started = time.perf_counter()
    await work
    return time.perf_counter() - started
