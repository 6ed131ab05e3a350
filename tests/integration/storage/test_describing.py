"""What an element tells of itself: server, operations, open uploads, tombstones."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from artstore.v1 import (
    cache_pb2,
    cache_pb2_grpc,
    operations_pb2,
    operations_pb2_grpc,
    server_pb2,
    server_pb2_grpc,
    storage_pb2,
    types_pb2,
)
from tests.support.storage_rig import Node

Code = grpc.StatusCode


async def _uploads(node: Node, **asked: Any) -> Any:
    claims = asked.pop("claims", {})
    return await node.call("ListUploads", storage_pb2.ListUploadsRequest(**asked), **claims)


async def test_an_element_says_what_it_needs_and_how_that_is(shared_local: Node) -> None:
    stub: Any = server_pb2_grpc.ServerServiceStub(shared_local.channel)
    answer = await stub.GetServerInfo(
        server_pb2.GetServerInfoRequest(),
        metadata=shared_local.bearer(role="READONLY"),
        timeout=10,
    )
    server = answer.server
    assert (server.kind, server.name) == (server_pb2.SERVER_KIND_STORAGE, "se-01")
    assert {one.name: one.available for one in server.dependencies} == {
        "postgresql": True,
        "redis": True,
        "storage": True,
    }
    assert server.started_at.seconds <= server.answered_at.seconds
    assert server.version


async def test_open_uploads_are_listed_to_their_owner_and_to_admins(shared_local: Node) -> None:
    first = await shared_local.start_upload(
        original_filename="first.bin", size_bytes=10, claims={"sub": "lister"}
    )
    second = await shared_local.start_upload(claims={"sub": "lister"})
    await shared_local.start_upload(claims={"sub": "another"})
    await shared_local.write_upload(first, b"12345", sub="lister")
    page = await _uploads(shared_local, created_by="lister", page_size=1)
    assert (page.total_size, page.uploads[0].upload_id) == (2, second.upload_id)
    rest = await _uploads(
        shared_local, created_by="lister", page_size=1, page_token=page.next_page_token
    )
    upload = rest.uploads[0]
    assert (upload.upload_id, rest.next_page_token) == (first.upload_id, "")
    assert (upload.header.original_filename, upload.header.size_bytes) == ("first.bin", 10)
    assert (upload.created_by, upload.committed_size_bytes) == ("lister", 5)
    assert upload.expires_at.seconds > upload.created_at.seconds
    for role in ("USER", "SERVICE"):
        owner = {"sub": "another", "role": role}
        mine = await _uploads(shared_local, claims=owner)
        assert {one.created_by for one in mine.uploads} == {"another"}
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await _uploads(shared_local, created_by="lister", claims=owner)
        assert refused.value.code() is Code.PERMISSION_DENIED
    with pytest.raises(grpc.aio.AioRpcError) as wrong:
        await _uploads(shared_local, page_token="nonsense")
    assert wrong.value.code() is Code.INVALID_ARGUMENT


async def test_an_admin_of_some_namespaces_sees_the_uploads_to_those(shared_local: Node) -> None:
    for namespace in ("mine", "theirs"):
        await shared_local.start_upload(namespace=namespace, claims={"sub": "both"})
    bound = {"ns_read": ["mine"], "ns_write": ["mine"]}
    page = await _uploads(shared_local, created_by="both", claims=bound)
    assert (page.total_size, [one.header.namespace for one in page.uploads]) == (1, ["mine"])
    assert (await _uploads(shared_local, created_by="both")).total_size == 2


async def test_counts_of_all_namespaces_and_ids_of_stores_are_not_for_everybody(
    shared_local: Node,
) -> None:
    await shared_local.upload()

    async def seen(**claims: Any) -> tuple[bool, ...]:
        element = (
            await shared_local.call("GetElement", storage_pb2.GetElementRequest(), **claims)
        ).element
        assert element.storage_element_id == "se-01" and element.capacity_bytes
        return tuple(
            bool(getattr(element, name))
            for name in ("file_count", "head_position", "store_id", "epoch")
        )

    for role, tells_apart in (
        ("READONLY", False),
        ("USER", False),
        ("AUDITOR", False),
        ("SERVICE", True),
        ("ADMIN", True),
    ):
        apart = (tells_apart, tells_apart)
        assert await seen(role=role) == (True, True, *apart)
        assert await seen(role=role, ns_read=["default"]) == (False, False, *apart)


async def test_tombstones_are_listed_to_those_who_ask(shared_local: Node) -> None:
    kept = (await shared_local.upload()).file.file_id
    gone = (await shared_local.upload()).file.file_id
    await shared_local.call("DeleteFile", storage_pb2.DeleteFileRequest(file_id=gone))
    plain = {file.file_id for file in (await shared_local.list(page_size=1000)).files}
    assert kept in plain
    assert gone not in plain
    page = await shared_local.list(page_size=1000, show_deleted=True)
    states = {file.file_id: file.state for file in page.files}
    assert states[kept] == types_pb2.FILE_STATE_ACTIVE
    assert states[gone] == types_pb2.FILE_STATE_DELETED
    assert page.total_size == len(page.files)


async def test_operations_are_shown_listed_and_watched(shared_local: Node) -> None:
    cache: Any = cache_pb2_grpc.CacheServiceStub(shared_local.channel)
    stub: Any = operations_pb2_grpc.OperationServiceStub(shared_local.channel)
    said = {"metadata": shared_local.bearer(sub="checker"), "timeout": 10}
    await cache.CheckConsistency(
        cache_pb2.CheckConsistencyRequest(operation_id="shown", wait_seconds=5), **said
    )
    await cache.RebuildCache(
        cache_pb2.RebuildCacheRequest(operation_id="rebuilt", wait_seconds=5), **said
    )
    found = (
        await stub.GetOperation(operations_pb2.GetOperationRequest(operation_id="shown"), **said)
    ).operation
    assert (found.kind, found.state, found.phase) == (
        operations_pb2.OPERATION_KIND_CHECK,
        operations_pb2.OPERATION_STATE_SUCCEEDED,
        operations_pb2.OPERATION_PHASE_DONE,
    )
    assert (found.requested_by, found.storage_element_id) == ("checker", "se-01")
    assert found.ended_at.ToDatetime() >= found.started_at.ToDatetime()
    listed = await stub.ListOperations(
        operations_pb2.ListOperationsRequest(
            kinds=[operations_pb2.OPERATION_KIND_FULL_REBUILD], page_size=1
        ),
        **said,
    )
    assert [one.operation_id for one in listed.operations] == ["rebuilt"]
    request = operations_pb2.WatchOperationRequest(operation_id="shown")
    news = [one.operation async for one in stub.WatchOperation(request, **said)]
    assert news == [found]
    told = await stub.CancelOperation(
        operations_pb2.CancelOperationRequest(operation_id="shown"), **said
    )
    assert told.operation == found
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await stub.GetOperation(operations_pb2.GetOperationRequest(operation_id="none"), **said)
    assert unknown.value.code() is Code.NOT_FOUND


async def test_what_later_versions_fill_says_so(shared_local: Node) -> None:
    calls = {
        "SetDrain": storage_pb2.SetDrainRequest(draining=True),
    }
    for method, request in calls.items():
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await shared_local.call(method, request)
        assert refused.value.code() is Code.UNIMPLEMENTED, method
        assert refused.value.details()
    with pytest.raises(grpc.aio.AioRpcError) as copies:
        await shared_local.start_upload(copies=2)
    assert copies.value.code() is Code.UNIMPLEMENTED
    assert (await shared_local.start_upload(copies=1)).upload_id
    for method in ("Heal", "OpenElement"):
        call = shared_local.channel.unary_unary(f"/artstore.v1.TransferService/{method}")
        with pytest.raises(grpc.aio.AioRpcError) as step:
            await call(b"", metadata=shared_local.bearer(role="SERVICE"), timeout=10)
        assert step.value.code() is Code.UNIMPLEMENTED, method
