"""Ingest passes serialized messages on to elements: both services must mean the same by them."""

from __future__ import annotations

import pytest

from artstore.v1 import ingest_pb2, storage_pb2, uploads_pb2
from ingest_server.uploads.forwarding import is_finish


@pytest.mark.parametrize(
    "verb", ["Upload", "StartUpload", "WriteUpload", "GetUpload", "CommitUpload", "AbortUpload"]
)
def test_both_services_take_and_give_the_same_messages_of_uploads(verb: str) -> None:
    ours = ingest_pb2.DESCRIPTOR.services_by_name["IngestService"].methods_by_name[verb]
    theirs = storage_pb2.DESCRIPTOR.services_by_name["StorageService"].methods_by_name[verb]
    assert ours.input_type is theirs.input_type
    assert ours.output_type is theirs.output_type
    assert ours.client_streaming == theirs.client_streaming
    assert ours.server_streaming == theirs.server_streaming


def test_only_a_finish_looks_like_one() -> None:
    request = uploads_pb2.UploadRequest()
    assert not is_finish(request.SerializeToString())
    request.header.original_filename = "a"
    assert not is_finish(request.SerializeToString())
    request.chunk.data = b"\x1a\x1a"
    assert not is_finish(request.SerializeToString())
    request.finish.SetInParent()
    assert is_finish(request.SerializeToString())
