"""Many files at once: put into an element's store by hand, and found by its repair."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from artstore.v1 import cache_pb2, cache_pb2_grpc
from storage_server.domain.sidecar import encode
from storage_server.store.port import SIDECAR_SUFFIX
from tests.support.cache_rig import a_sidecar, path_of
from tests.support.storage_rig import Node


async def put_files(node: Node, count: int, *, prefix: str = "file") -> None:
    """Blobs and sidecars of `count` files, without a word to the element."""
    await asyncio.to_thread(_put_files, node, count, prefix)


def _put_files(node: Node, count: int, prefix: str) -> None:
    for number in range(count):
        sidecar = a_sidecar(original_filename=f"{prefix} {number}.txt")
        path = node.rig.root / path_of(sidecar)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(path.name.removesuffix(SIDECAR_SUFFIX)).write_bytes(b"hello")
        path.write_bytes(encode(sidecar))


async def repair(node: Node, how: str = "RebuildCacheIncremental", **fields: Any) -> Any:
    """Let the element's CacheService work: a rebuild, or CleanupExpired."""
    stub: Any = cache_pb2_grpc.CacheServiceStub(node.channel)
    request = getattr(cache_pb2, f"{how}Request")(**fields)
    for _ in range(20):
        try:
            return await getattr(stub, how)(request, metadata=node.bearer(), timeout=120)
        except grpc.aio.AioRpcError as error:
            # Another operation has the element, or Valkey has not been found again yet.
            if error.code() not in (grpc.StatusCode.ABORTED, grpc.StatusCode.UNAVAILABLE):
                raise
        await asyncio.sleep(0.5)
    raise TimeoutError(f"{how} was refused again and again")
