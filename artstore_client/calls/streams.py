"""Stubs whose streams of bytes go past protobuf where they can (`artstore_client.framing`)."""

from __future__ import annotations

from typing import Any

import grpc.aio

from artstore.v1 import downloads_pb2, ingest_pb2_grpc, storage_pb2_grpc, uploads_pb2
from artstore_client.framing import as_bytes, pieces_or

_INGEST = "/artstore.v1.IngestService/"
_STORAGE = "/artstore.v1.StorageService/"


def ingest_stub(channel: grpc.aio.Channel) -> ingest_pb2_grpc.IngestServiceAsyncStub:
    """Stub of ingest; messages of its streams of requests may be serialized already."""
    stub: Any = ingest_pb2_grpc.IngestServiceStub(channel)
    _take_bytes(stub, channel, _INGEST)
    return stub  # type: ignore[no-any-return]


def storage_stub(channel: grpc.aio.Channel) -> storage_pb2_grpc.StorageServiceAsyncStub:
    """Stub of an element; messages of its streams of requests may be serialized already, and
    chunks of a Download are Pieces.
    """
    stub: Any = storage_pb2_grpc.StorageServiceStub(channel)
    _take_bytes(stub, channel, _STORAGE)
    stub.Download = channel.unary_stream(
        _STORAGE + "Download",
        request_serializer=downloads_pb2.DownloadRequest.SerializeToString,
        response_deserializer=pieces_or(downloads_pb2.DownloadResponse),
    )
    return stub  # type: ignore[no-any-return]


def _take_bytes(stub: Any, channel: grpc.aio.Channel, service: str) -> None:
    answers: dict[str, Any] = {
        "Upload": uploads_pb2.UploadResponse,
        "WriteUpload": uploads_pb2.WriteUploadResponse,
    }
    for name, answer in answers.items():
        call = channel.stream_unary(
            service + name, request_serializer=as_bytes, response_deserializer=answer.FromString
        )
        setattr(stub, name, call)
