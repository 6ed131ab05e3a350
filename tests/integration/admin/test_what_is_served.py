"""What admin serves, what it announces only, and what it says of itself."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from artstore.v1 import (
    operations_pb2,
    operations_pb2_grpc,
    server_pb2,
    server_pb2_grpc,
)
from tests.support.running_admin import RunningAdmin

UNSERVED = [
    ("StorageElementService", "RetireStorageElement"),
    ("StorageElementService", "MarkStorageElementLost"),
    ("StorageElementService", "OpenStorageElement"),
    ("StorageElementService", "MarkStorageElementRestored"),
    ("LifecycleService", "StartEvacuation"),
    ("BackupService", "RunBackup"),
    ("BackupService", "ListBackups"),
    ("BackupService", "VerifyBackup"),
    ("DrillService", "RunDrill"),
]


async def test_what_later_versions_fill_is_unimplemented_and_says_so(
    shared_admin: RunningAdmin,
) -> None:
    for service, method in UNSERVED:
        call = shared_admin.channel.unary_unary(
            f"/artstore.v1.{service}/{method}",
            request_serializer=bytes,
            response_deserializer=bytes,
        )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(b"", **await shared_admin.as_("admin"))
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED, method
        assert f"{service}.{method}" in (refused.value.details() or "")


async def test_admin_describes_itself_and_has_no_operations(shared_admin: RunningAdmin) -> None:
    stub: Any = server_pb2_grpc.ServerServiceStub(shared_admin.channel)
    answer = await stub.GetServerInfo(
        server_pb2.GetServerInfoRequest(), **await shared_admin.as_("alice")
    )
    server = answer.server
    assert (server.kind, server.name) == (server_pb2.SERVER_KIND_ADMIN, "admin")
    assert [(one.name, one.available) for one in server.dependencies] == [("postgresql", True)]
    assert "artstore.v1.TokenService" in {one.name for one in server.services if one.serving}
    assert server.limits.max_chunk_size_bytes == 2 * 2**20
    operations: Any = operations_pb2_grpc.OperationServiceStub(shared_admin.channel)
    listed = await operations.ListOperations(
        operations_pb2.ListOperationsRequest(), **await shared_admin.as_("auditor")
    )
    assert (list(listed.operations), listed.total_size) == ([], 0)
