"""Elements keep to what an ADMIN has set for a namespace, also while admin is away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from admin_server.policies import usage
from artstore.v1 import lifecycle_pb2, lifecycle_pb2_grpc, storage_pb2
from mesh.calls import policy_list
from mesh.calls.status import from_rpc_error
from storage_server.uploads import quotas
from tests.integration.feed.small_mesh import SmallMesh, small_mesh
from tests.support.storage_rig import Node
from tests.support.waiting import until


@pytest.fixture
async def policed(
    tmp_path: Path, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SmallMesh]:
    """A mesh whose servers ask for policies more often."""
    monkeypatch.setattr(policy_list, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(usage, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(quotas, "KNOWN_SECONDS", 2.0)
    async with small_mesh(tmp_path, database_url, redis_url) as mesh:
        yield mesh


def lifecycle(mesh: SmallMesh) -> Any:
    return lifecycle_pb2_grpc.LifecycleServiceStub(mesh.admin.channel)


async def put(mesh: SmallMesh, namespace: str, **values: int) -> None:
    policy = lifecycle_pb2.Policy(namespace=namespace, **values)
    request = lifecycle_pb2.SetPolicyRequest(policy=policy)
    await lifecycle(mesh).SetPolicy(request, metadata=mesh.bearer(), timeout=10)


async def used(mesh: SmallMesh, namespace: str) -> int:
    request = lifecycle_pb2.GetPolicyRequest(namespace=namespace)
    answer = await lifecycle(mesh).GetPolicy(request, metadata=mesh.bearer(), timeout=10)
    return int(answer.policy.used_bytes)


async def days_of_a_file(node: Node, namespace: str) -> int:
    return int((await node.upload(namespace=namespace)).file.retention_days)


async def refusal(work: Any) -> tuple[str, str]:
    """Reason and message."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await work
    error = from_rpc_error(refused.value)
    return error.reason, error.message


async def test_an_element_keeps_to_a_policy_also_when_it_restarts_without_admin(
    policed: SmallMesh,
) -> None:
    node = policed.elements["se-01"]
    await put(policed, "short", default_retention_days=3, max_retention_days=8, trash_days=0)

    async def followed() -> bool:
        return await days_of_a_file(node, "short") == 3

    await until(followed)
    assert await days_of_a_file(node, "default") == 30
    reason, message = await refusal(node.upload(namespace="short", retention_days=9))
    assert (reason, "1 to 8" in message) == ("INVALID_ARGUMENT", True)
    kept = policed.folder / "se-01" / "policies.json"
    await until(kept.exists)
    await policed.stop("se-01")
    await policed.stop("admin")
    node = await policed.start_element("se-01")
    stored = await node.upload(namespace="short")
    assert stored.file.retention_days == 3
    await node.call("DeleteFile", storage_pb2.DeleteFileRequest(file_id=stored.file.file_id))
    gone = node.call("UndeleteFile", storage_pb2.UndeleteFileRequest(file_id=stored.file.file_id))
    assert (await refusal(gone))[0] == "BLOB_GONE"


async def test_a_quota_is_kept_counted_and_made_room_in(policed: SmallMesh) -> None:
    node = policed.elements["se-01"]
    first = await node.upload(bytes(60), namespace="small")
    await policed.agree()
    await put(policed, "small", quota_bytes=100)

    async def refused() -> bool:
        try:
            opened = await node.start_upload(namespace="small", size_bytes=41)
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert from_rpc_error(error).reason == "QUOTA"
            return True
        assert opened.upload_id
        return False

    await until(refused)
    await node.upload(bytes(40), namespace="small")
    assert (await refusal(node.upload(b"1", namespace="small")))[0] == "QUOTA"
    await policed.agree()
    assert await used(policed, "small") == 100
    await node.call("DeleteFile", storage_pb2.DeleteFileRequest(file_id=first.file.file_id))

    async def taken() -> bool:
        try:
            await node.upload(bytes(60), namespace="small")
        except grpc.aio.AioRpcError:
            return False
        return True

    await until(taken, 15)
    await policed.agree()
    assert await used(policed, "small") == 100
