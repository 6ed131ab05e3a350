"""Ingest passes serialized messages on to elements: both services must mean the same by them."""

from __future__ import annotations

import pytest

from artstore.v1 import ingest_pb2, storage_pb2
from ingest_server.uploads.forwarding import is_finish

TWINS = ("Upload", "StartUpload", "WriteUpload", "GetUpload", "CommitUpload", "AbortUpload")


@pytest.mark.parametrize("verb", TWINS)
@pytest.mark.parametrize("kind", ["Request", "Response"])
def test_twin_messages_have_the_same_fields(verb: str, kind: str) -> None:
    ours = ingest_pb2.DESCRIPTOR.message_types_by_name[f"IngestService{verb}{kind}"]
    theirs = storage_pb2.DESCRIPTOR.message_types_by_name[f"StorageService{verb}{kind}"]
    assert _shape(ours) == _shape(theirs)


@pytest.mark.parametrize("verb", TWINS)
def test_twin_methods_stream_the_same_way(verb: str) -> None:
    ours = ingest_pb2.DESCRIPTOR.services_by_name["IngestService"].methods_by_name[verb]
    theirs = storage_pb2.DESCRIPTOR.services_by_name["StorageService"].methods_by_name[verb]
    assert ours.client_streaming == theirs.client_streaming
    assert ours.server_streaming == theirs.server_streaming


def test_only_a_finish_looks_like_one() -> None:
    request = ingest_pb2.IngestServiceUploadRequest()
    assert not is_finish(request.SerializeToString())
    request.header.original_filename = "a"
    assert not is_finish(request.SerializeToString())
    request.chunk.data = b"\x1a\x1a"
    assert not is_finish(request.SerializeToString())
    request.finish.SetInParent()
    assert is_finish(request.SerializeToString())


def _shape(message: object) -> list[tuple[object, ...]]:
    return [
        (
            field.number,
            field.name,
            field.type,
            field.is_repeated,
            field.has_presence,
            field.message_type.full_name if field.message_type else "",
            field.containing_oneof.name if field.containing_oneof else "",
        )
        for field in message.fields  # type: ignore[attr-defined]
    ]
