"""What is stored is found, by all its words, from the moment its upload was answered."""

from __future__ import annotations

import asyncio
import hashlib
import os
from typing import Any

import grpc
import pytest

from artstore.v1 import (
    downloads_pb2,
    lifecycle_pb2,
    lifecycle_pb2_grpc,
    operations_pb2,
    operations_pb2_grpc,
    query_pb2,
    storage_pb2,
    types_pb2,
)
from mesh.calls.status import from_rpc_error
from mesh.errors import InvalidArgument
from query_server.following.heads import ElementHeads
from query_server.search.table import TABLE
from tests.integration.feed.small_mesh import SmallMesh, fetch


def field_of(refused: grpc.aio.AioRpcError) -> str:
    error = from_rpc_error(refused)
    assert isinstance(error, InvalidArgument)
    return error.field


async def test_an_upload_is_found_by_name_prefix_description_tag_and_attribute(
    mesh: SmallMesh,
) -> None:
    stored = await mesh.elements["se-01"].upload(
        b"content",
        original_filename="Квартальный_отчёт-2026.final.pdf",
        description="Signed invoices и копии договоров",
        tags=["срочно"],
        attributes={"customer": "Acme"},
    )
    for text in ("квартальный", "отч", "FIN", "2026", "invoice", "договор", "срочно", "acme"):
        page = await mesh.search(text, min_change_tokens=[stored.change_token])
        assert [result.file.file_id for result in page.results] == [stored.file.file_id], text
        assert page.index_complete


async def test_a_download_through_query_gives_the_same_bytes_and_ranges(mesh: SmallMesh) -> None:
    content = os.urandom(2_000_000)
    stored = await mesh.elements["se-01"].upload(content, original_filename="big.bin")
    await mesh.search(min_change_tokens=[stored.change_token])

    async def read(offset: int = 0, length: int = 0) -> bytes:
        call = mesh.query.DownloadFile(
            downloads_pb2.DownloadRequest(
                file_id=stored.file.file_id, offset=offset, length=length or None
            ),
            metadata=mesh.bearer(),
            timeout=10,
        )
        return b"".join([part.chunk.data async for part in call])

    assert hashlib.md5(await read()).digest() == hashlib.md5(content).digest()
    assert await read(1_000_000, 500) == content[1_000_000:1_000_500]
    with pytest.raises(grpc.aio.AioRpcError) as beyond:
        await read(2_000_001)
    assert beyond.value.code() is grpc.StatusCode.OUT_OF_RANGE


async def test_a_file_that_the_index_lacks_is_read_from_its_element(mesh: SmallMesh) -> None:
    stored = await mesh.elements["se-01"].upload(b"bytes", original_filename="late.txt")
    await mesh.search(min_change_tokens=[stored.change_token])
    file_id = stored.file.file_id
    await fetch(mesh.query_url, f"DELETE FROM {TABLE} WHERE file_id = $1", file_id)
    try:
        found = await mesh.query.GetFile(
            query_pb2.QueryServiceGetFileRequest(file_id=file_id),
            metadata=mesh.bearer(),
            timeout=10,
        )
        assert found.file.original_filename == "late.txt"
        call = mesh.query.DownloadFile(
            downloads_pb2.DownloadRequest(file_id=file_id), metadata=mesh.bearer(), timeout=10
        )
        assert b"".join([part.chunk.data async for part in call]) == b"bytes"
    finally:
        await mesh.sync()


async def test_update_delete_and_undelete_show_at_once(mesh: SmallMesh) -> None:
    node = mesh.elements["se-01"]
    stored = await node.upload(original_filename="changing.txt", description="before")
    file_id = stored.file.file_id
    changed = await node.call(
        "UpdateFile",
        storage_pb2.UpdateFileRequest(file_id=file_id, file=types_pb2.File(description="zebra")),
    )
    assert await mesh.found("zebra", min_change_tokens=[changed.change_token]) == ["changing.txt"]
    deleted = await node.call("DeleteFile", storage_pb2.DeleteFileRequest(file_id=file_id))
    assert await mesh.found("zebra", min_change_tokens=[deleted.change_token]) == []
    with pytest.raises(grpc.aio.AioRpcError) as gone:
        await mesh.query.GetFile(
            query_pb2.QueryServiceGetFileRequest(file_id=file_id),
            metadata=mesh.bearer(),
            timeout=5,
        )
    assert gone.value.code() is grpc.StatusCode.NOT_FOUND
    back = await node.call("UndeleteFile", storage_pb2.UndeleteFileRequest(file_id=file_id))
    assert await mesh.found("zebra", min_change_tokens=[back.change_token]) == ["changing.txt"]


async def test_a_change_that_was_not_made_is_not_waited_for(mesh: SmallMesh) -> None:
    stored = await mesh.elements["se-01"].upload()
    element_id, epoch, sequence = stored.change_token.split(".")
    ahead = f"{element_id}.{epoch}.{int(sequence) + 1000}"
    waiting = [mesh.search("x", min_change_tokens=[token]) for token in (ahead, "se-99.e.1")]
    async with asyncio.timeout(3):
        refusals = await asyncio.gather(*waiting * 25, return_exceptions=True)
    for refused in refusals:
        assert isinstance(refused, grpc.aio.AioRpcError)
        assert refused.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert field_of(refused) == "min_change_tokens"
    # The one that was made is.
    assert await mesh.search("x", min_change_tokens=[stored.change_token])


async def test_a_change_of_an_element_that_cannot_tell_is_waited_for_until_the_deadline(
    mesh: SmallMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await mesh.elements["se-01"].upload()
    element_id, epoch, sequence = stored.change_token.split(".")
    ahead = f"{element_id}.{epoch}.{int(sequence) + 1000}"

    async def silent(heads: ElementHeads, element_id: str, endpoint: str) -> None:
        return None

    monkeypatch.setattr(ElementHeads, "_ask", silent)
    waiting = [
        asyncio.create_task(mesh.search("x", timeout=1.0, min_change_tokens=[ahead]))
        for _ in range(50)
    ]
    # Those that wait hold nothing that others need.
    await mesh.search("x", timeout=1.0)
    for outcome in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(outcome, grpc.aio.AioRpcError)
        assert outcome.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("token", ["x", "se-01.e.1.2.three", "\0", "se-01..5", "." * 300])
async def test_what_is_no_change_token_is_refused(mesh: SmallMesh, token: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await mesh.search(min_change_tokens=[token])
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_caller_sees_what_its_namespaces_allow(mesh: SmallMesh) -> None:
    node = mesh.elements["se-01"]
    secret = await node.upload(original_filename="salaries.txt", namespace="hr")
    reader = await mesh.admin.issue("reader")
    answer = await mesh.query.SearchFiles(
        query_pb2.SearchFilesRequest(query="salaries", min_change_tokens=[secret.change_token]),
        metadata=mesh.bearer(reader),
        timeout=10,
    )
    assert (answer.total_count, len(answer.results)) == (0, 0)
    assert await mesh.found("salaries") == ["salaries.txt"]
    for method, request in (
        ("GetFile", query_pb2.QueryServiceGetFileRequest(file_id=secret.file.file_id)),
        ("DownloadFile", downloads_pb2.DownloadRequest(file_id=secret.file.file_id)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as hidden:
            call = getattr(mesh.query, method)(request, metadata=mesh.bearer(reader), timeout=5)
            if method == "GetFile":
                await call
            else:
                [part async for part in call]
        assert hidden.value.code() is grpc.StatusCode.NOT_FOUND


async def test_an_admin_holds_a_file_that_was_just_stored_and_lifts_the_hold(
    mesh: SmallMesh,
) -> None:
    element = mesh.elements["se-01"]
    file_id = (await element.upload(b"evidence", original_filename="held.txt")).file.file_id
    stub: Any = lifecycle_pb2_grpc.LifecycleServiceStub(mesh.admin.channel)

    async def hold(legal_hold: bool, file_id: str = file_id, reason: str = "case 7") -> Any:
        request = lifecycle_pb2.SetLegalHoldRequest(
            file_id=file_id, legal_hold=legal_hold, reason=reason
        )
        return await stub.SetLegalHold(request, metadata=mesh.bearer(), timeout=10)

    held = await hold(True)
    assert held.file.legal_hold
    page = await mesh.search("held", min_change_tokens=[held.change_token])
    assert [result.file.legal_hold for result in page.results] == [True]
    delete = storage_pb2.DeleteFileRequest(file_id=file_id)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await element.call("DeleteFile", delete)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    # The second time it is known to the registry, too.
    assert not (await hold(False)).file.legal_hold
    await element.call("DeleteFile", delete)
    for call, code in (
        (hold(True), grpc.StatusCode.NOT_FOUND),
        (hold(True, "no such file"), grpc.StatusCode.NOT_FOUND),
        (hold(True, reason="x" * 201), grpc.StatusCode.INVALID_ARGUMENT),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as wrong:
            await call
        assert wrong.value.code() is code


async def test_a_snapshot_that_was_asked_for_is_an_operation_of_query(mesh: SmallMesh) -> None:
    said: dict[str, Any] = {"metadata": mesh.bearer(), "timeout": 60}
    await mesh.query.SyncIndex(
        query_pb2.SyncIndexRequest(storage_element_id="se-01", operation_id="asked"), **said
    )
    async with grpc.aio.insecure_channel(mesh.query_address) as channel:
        stub: Any = operations_pb2_grpc.OperationServiceStub(channel)
        listed = await stub.ListOperations(operations_pb2.ListOperationsRequest(), **said)
    (found,) = (one for one in listed.operations if one.operation_id == "asked")
    assert (found.kind, found.state, found.requested_by) == (
        operations_pb2.OPERATION_KIND_SYNC,
        operations_pb2.OPERATION_STATE_SUCCEEDED,
        "admin",
    )


async def test_a_length_of_nothing_is_no_byte_and_no_length_is_all(mesh: SmallMesh) -> None:
    stored = await mesh.elements["se-01"].upload(b"twelve bytes", original_filename="12.txt")
    file_id = stored.file.file_id
    element = mesh.elements["se-01"].stub.Download
    for method in (element, mesh.query.DownloadFile):
        for length, expected in ((0, b""), (None, b"ve bytes"), (2, b"ve"), (100, b"ve bytes")):
            request = downloads_pb2.DownloadRequest(file_id=file_id, offset=4, length=length)
            call = method(request, metadata=mesh.bearer(), timeout=10)
            parts = [part async for part in call]
            assert parts[0].header.length == len(expected)
            assert b"".join(part.chunk.data for part in parts) == expected
