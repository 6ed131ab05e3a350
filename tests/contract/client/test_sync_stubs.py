"""The generated synchronous stubs, on the channel of grpcio-testing: no server, no network.

What scripts and other languages' examples rely on: which calls stream in which direction, which
messages they take and give, and that their failures become this library's exceptions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import grpc
import grpc_testing
import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

import artstore_client
from artstore.v1 import downloads_pb2, storage_pb2, storage_pb2_grpc, types_pb2, uploads_pb2
from artstore_client.errors import from_rpc_error
from mesh import errors
from mesh.calls.services import services
from mesh.calls.status import rule_for, to_trailing_metadata

FILES = [
    import_module(service.file.name.replace("/", ".").replace(".proto", "_pb2_grpc"))
    for service in services().values()
]
SECONDS = 10.0


@dataclass(frozen=True)
class Method:
    """One method of the contract and the stub that calls it."""

    descriptor: Any
    stub_class: Callable[[Any], Any]

    @property
    def request(self) -> type[Message]:
        return GetMessageClass(self.descriptor.input_type)

    @property
    def response(self) -> type[Message]:
        return GetMessageClass(self.descriptor.output_type)

    def __str__(self) -> str:
        return f"{self.descriptor.containing_service.name}.{self.descriptor.name}"


METHODS = [
    Method(method, getattr(stubs, f"{service.name}Stub"))
    for service, stubs in zip(services().values(), FILES, strict=True)
    for method in service.methods
]
STORAGE = storage_pb2.DESCRIPTOR.services_by_name["StorageService"]
REQUEST_STREAMS = {
    "StorageService.Upload",
    "StorageService.WriteUpload",
    "IngestService.Upload",
    "IngestService.WriteUpload",
    "AuditService.RecordRefusals",
}
RESPONSE_STREAMS = {
    "StorageService.Download",
    "StorageService.WatchChanges",
    "OperationService.WatchOperation",
    "TransferService.PullFile",
    "AuditService.ExportAuditEvents",
    "QueryService.DownloadFile",
    "StorageElementService.WatchStorageElements",
}


@pytest.fixture
def channel() -> grpc_testing.Channel:
    services = {method.descriptor.containing_service.full_name: method for method in METHODS}
    return grpc_testing.channel(
        [method.descriptor.containing_service for method in services.values()],
        grpc_testing.strict_real_time(),
    )


@pytest.fixture
def in_thread() -> Iterator[Callable[..., Future[Any]]]:
    """Calls block, so they are made in a thread while the test plays the server."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        yield pool.submit


def test_contract_streams_where_it_says() -> None:
    assert {str(m) for m in METHODS if m.descriptor.client_streaming} == REQUEST_STREAMS
    assert {str(m) for m in METHODS if m.descriptor.server_streaming} == RESPONSE_STREAMS


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_every_method_takes_and_gives_its_own_messages(
    method: Method, channel: grpc_testing.Channel, in_thread: Callable[..., Future[Any]]
) -> None:
    call = getattr(method.stub_class(channel), method.descriptor.name)
    metadata = (("authorization", "Bearer token"),)
    descriptor, answer = method.descriptor, method.response()
    if descriptor.client_streaming:
        done = in_thread(call, iter([method.request()]), timeout=SECONDS, metadata=metadata)
        told, rpc = channel.take_stream_unary(descriptor)
        rpc.send_initial_metadata(())
        taken = rpc.take_request()
        rpc.requests_closed()
        rpc.terminate(answer, (), grpc.StatusCode.OK, "")
        got = done.result(SECONDS)
    elif descriptor.server_streaming:
        answers = call(method.request(), timeout=SECONDS, metadata=metadata)
        told, taken, rpc = channel.take_unary_stream(descriptor)
        rpc.send_initial_metadata(())
        rpc.send_response(answer)
        rpc.terminate((), grpc.StatusCode.OK, "")
        (got,) = answers
    else:
        done = in_thread(call, method.request(), timeout=SECONDS, metadata=metadata)
        told, taken, rpc = channel.take_unary_unary(descriptor)
        rpc.send_initial_metadata(())
        rpc.terminate(answer, (), grpc.StatusCode.OK, "")
        got = done.result(SECONDS)
    assert isinstance(taken, method.request)
    assert isinstance(got, method.response)
    assert ("authorization", "Bearer token") in told


def test_upload_stream_is_header_chunks_finish(
    channel: grpc_testing.Channel, in_thread: Callable[..., Future[Any]]
) -> None:
    request = uploads_pb2.UploadRequest
    parts = [
        request(header=uploads_pb2.UploadHeader(original_filename="a", size_bytes=0)),
        request(chunk=types_pb2.Chunk(offset=0, data=b"x", crc32c=1)),
        request(finish=uploads_pb2.UploadFinish(size_bytes=1)),
    ]
    stub = storage_pb2_grpc.StorageServiceStub(channel)
    done = in_thread(stub.Upload, iter(parts), timeout=SECONDS)
    _, rpc = channel.take_stream_unary(STORAGE.methods_by_name["Upload"])
    rpc.send_initial_metadata(())
    kinds = [rpc.take_request().WhichOneof("payload") for _ in parts]
    rpc.requests_closed()
    file = types_pb2.File(file_id="id", size_bytes=1)
    rpc.terminate(uploads_pb2.UploadResponse(file=file), (), grpc.StatusCode.OK, "")
    assert kinds == ["header", "chunk", "finish"]
    assert done.result(SECONDS).file == file


def test_size_zero_is_not_an_unknown_size() -> None:
    assert uploads_pb2.UploadHeader(size_bytes=0).HasField("size_bytes")
    assert not uploads_pb2.UploadHeader().HasField("size_bytes")
    assert types_pb2.Chunk(crc32c=0).HasField("crc32c")


ERRORS = [
    errors.InvalidArgument("empty name", field="header.original_filename"),
    errors.NotFound("no such file"),
    errors.AlreadyExists("request id taken"),
    errors.FailedPrecondition("mode is ro", reason="MODE"),
    errors.Aborted("held", reason="LOCK_HELD", metadata={"holder": "a:1", "expires": "soon"}),
    errors.OutOfRange("gap"),
    errors.ResourceExhausted("full"),
    errors.DataLoss("digest differs"),
    errors.Unavailable("database is down", retry_after_seconds=2.5),
    errors.Unauthenticated("expired"),
    errors.PermissionDenied("role READONLY"),
    errors.Unimplemented("later"),
]


@pytest.mark.parametrize("told", ERRORS, ids=lambda error: type(error).__name__)
def test_failure_of_a_call_becomes_the_same_exception_as_on_the_server(
    told: errors.ArtStoreError,
    channel: grpc_testing.Channel,
    in_thread: Callable[..., Future[Any]],
) -> None:
    stub = storage_pb2_grpc.StorageServiceStub(channel)
    done = in_thread(
        stub.GetFile, storage_pb2.StorageServiceGetFileRequest(file_id="x"), timeout=SECONDS
    )
    _, _, rpc = channel.take_unary_unary(STORAGE.methods_by_name["GetFile"])
    rpc.send_initial_metadata(())
    rpc.terminate(None, to_trailing_metadata(told), rule_for(told).code, told.message)
    with pytest.raises(grpc.RpcError) as caught:
        done.result(SECONDS)
    error = from_rpc_error(caught.value, doing="GetFile on se-01")
    assert type(error).__name__ == type(told).__name__
    assert error.message.startswith(f"GetFile on se-01: {told.message}")
    assert (error.reason, error.metadata) == (told.reason, told.metadata)
    if isinstance(error, artstore_client.InvalidArgument):
        assert error.field == "header.original_filename"
    if isinstance(error, artstore_client.Unavailable):
        assert error.retry_after_seconds == 2.5


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.DEADLINE_EXCEEDED, artstore_client.DeadlineExceeded),
        (grpc.StatusCode.INTERNAL, artstore_client.Internal),
        (grpc.StatusCode.UNKNOWN, artstore_client.Internal),
        (grpc.StatusCode.CANCELLED, artstore_client.Unavailable),
    ],
)
def test_status_without_details_has_a_kind_and_advice(
    code: grpc.StatusCode,
    kind: type[artstore_client.ArtStoreError],
    channel: grpc_testing.Channel,
    in_thread: Callable[..., Future[Any]],
) -> None:
    stub = storage_pb2_grpc.StorageServiceStub(channel)
    done = in_thread(stub.GetElement, storage_pb2.GetElementRequest(), timeout=SECONDS)
    _, _, rpc = channel.take_unary_unary(STORAGE.methods_by_name["GetElement"])
    rpc.send_initial_metadata(())
    rpc.terminate(None, (), code, "")
    with pytest.raises(grpc.RpcError) as caught:
        done.result(SECONDS)
    error = from_rpc_error(caught.value)
    assert type(error) is kind
    assert kind.advice in error.message


def test_broken_download_keeps_the_chunks_that_came(channel: grpc_testing.Channel) -> None:
    stub = storage_pb2_grpc.StorageServiceStub(channel)
    answers = stub.Download(downloads_pb2.DownloadRequest(file_id="x"), timeout=SECONDS)
    _, _, rpc = channel.take_unary_stream(STORAGE.methods_by_name["Download"])
    rpc.send_initial_metadata(())
    rpc.send_response(downloads_pb2.DownloadResponse(chunk=types_pb2.Chunk(data=b"first")))
    lost = errors.DataLoss("the blob is shorter than recorded", reason="BLOB_SHORT")
    assert next(answers).chunk.data == b"first"
    rpc.terminate(to_trailing_metadata(lost), rule_for(lost).code, lost.message)
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    error = from_rpc_error(caught.value)
    assert isinstance(error, artstore_client.DataLoss)
    assert error.reason == "BLOB_SHORT"
