"""Every call needs a token and a role; every refusal says in details what a program can use."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from artstore.v1 import cache_pb2, storage_pb2, types_pb2
from mesh.identity.roles import roles_for
from storage_server.catalog.reads import Reads
from tests.support.storage_rig import Node

Code = grpc.StatusCode
SERVICES = [
    storage_pb2.DESCRIPTOR.services_by_name["StorageService"],
    cache_pb2.DESCRIPTOR.services_by_name["CacheService"],
]


def _methods() -> list[Any]:
    return [method for service in SERVICES for method in service.methods]


async def _end_of(node: Node, method: Any, metadata: Any) -> grpc.aio.AioRpcError:
    """The status of a call with an empty request."""
    kinds = {
        (False, False): node.channel.unary_unary,
        (False, True): node.channel.unary_stream,
        (True, False): node.channel.stream_unary,
        (True, True): node.channel.stream_stream,
    }
    make = kinds[method.client_streaming, method.server_streaming]
    call: Any = make(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=lambda message: message,
        response_deserializer=lambda data: data,
    )
    request = iter([b""]) if method.client_streaming else b""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        answer = call(request, metadata=metadata, timeout=10)
        if method.server_streaming:
            await answer.read()
            raise AssertionError("answered")
        await answer
    return error.value


def _details(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    status = status_pb2.Status()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status.ParseFromString(value)
    found: dict[str, Any] = {}
    for detail in status.details:
        for kind in (
            error_details_pb2.ErrorInfo,
            error_details_pb2.BadRequest,
            error_details_pb2.RetryInfo,
        ):
            message = kind()
            if detail.Unpack(message):
                found[kind.__name__] = message
    return found


async def test_without_a_token_no_call_is_served(local_element: Node) -> None:
    for method in _methods():
        error = await _end_of(local_element, method, None)
        assert error.code() == Code.UNAUTHENTICATED, method.name
        assert _details(error)["ErrorInfo"].domain == "artstore"


async def test_a_role_that_is_not_in_the_table_is_denied(local_element: Node) -> None:
    for method in _methods():
        path = f"/{method.containing_service.full_name}/{method.name}"
        for role in ("READONLY", "USER", "AUDITOR"):
            if role in roles_for(path):
                continue
            error = await _end_of(local_element, method, local_element.bearer(role=role))
            assert error.code() == Code.PERMISSION_DENIED, (method.name, role)


async def test_an_invalid_argument_names_its_field(local_element: Node) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await local_element.start_upload(original_filename="")
    details = _details(error.value)
    assert details["BadRequest"].field_violations[0].field == "original_filename"


async def test_unavailable_says_when_to_try_again(
    local_element: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mesh.errors import Unavailable

    async def down(*_: Any, **__: Any) -> Any:
        raise Unavailable("database artstore is not answering", retry_after_seconds=2.5)

    monkeypatch.setattr(Reads, "list_files", down)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await local_element.list()
    assert error.value.code() == Code.UNAVAILABLE
    assert _details(error.value)["RetryInfo"].retry_delay.ToMilliseconds() == 2500


async def test_a_revision_conflict_gives_its_reason_and_the_revision(local_element: Node) -> None:
    file = (await local_element.upload()).file
    request = storage_pb2.UpdateFileRequest(
        file_id=file.file_id, expected_revision=9, file=types_pb2.File(version="x")
    )
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await local_element.call("UpdateFile", request)
    info = _details(error.value)["ErrorInfo"]
    assert (error.value.code(), info.reason) == (Code.ABORTED, "REVISION_CONFLICT")
    assert info.metadata["revision"] == "1"


async def test_a_gap_says_where_to_go_on(local_element: Node) -> None:
    opened = await local_element.start_upload()
    await local_element.write_upload(opened, b"12345")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await local_element.write_upload(opened, b"9", offset=8)
    info = _details(error.value)["ErrorInfo"]
    assert (error.value.code(), info.reason) == (Code.OUT_OF_RANGE, "GAP")
    assert info.metadata["expected_offset"] == "5"


async def test_what_nobody_foresaw_is_internal_and_tells_nothing(
    local_element: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def bug(*_: Any, **__: Any) -> Any:
        raise ValueError("a secret of the server")

    monkeypatch.setattr(Reads, "list_files", bug)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await local_element.list()
    assert error.value.code() == Code.INTERNAL
    assert "secret" not in str(error.value)
