"""Resumable uploads through ingest: opened where there is room, routed by their id."""

from __future__ import annotations

from typing import Any

import grpc

from artstore.v1 import types_pb2, uploads_pb2
from mesh.errors import ResourceExhausted
from tests.integration.ingest.conftest import IngestUnderTest
from tests.integration.ingest.fakes import status_of
from tests.support.caller import ended
from tests.support.waiting import until

DATA = b"resumable" * 1000


def _start(**header: Any) -> Any:
    header.setdefault("original_filename", "a.bin")
    return uploads_pb2.StartUploadRequest(header=uploads_pb2.UploadHeader(**header))


def _piece(upload_id: str, offset: int, data: bytes) -> Any:
    return uploads_pb2.WriteUploadRequest(
        upload_id=upload_id, chunk=types_pb2.Chunk(offset=offset, data=data)
    )


async def test_start_answers_the_element_with_its_address_and_token(
    ingest: IngestUnderTest, element: Any
) -> None:
    full, second = await element("se-01"), await element("se-02", priority=200)
    full.refuses = ResourceExhausted("full")
    await ingest.announce(full, second)
    answer = await ingest.stub.StartUpload(_start(size_bytes=9), metadata=ingest.bearer())
    assert answer.upload_id.startswith("se-02.")
    assert answer.storage_element_id == "se-02"
    assert answer.endpoint == second.report.endpoint
    assert answer.upload_token == "secret"


async def test_an_accounts_number_is_final_and_its_share_is_each_elements_own(
    ingest: IngestUnderTest, element: Any
) -> None:
    first, second = await element("se-01"), await element("se-02", priority=200)
    await ingest.announce(first, second)
    for reason, goes_on in (("TOO_MANY_UPLOADS", False), ("UPLOAD_SHARE", True)):
        first.refuses = ResourceExhausted("abort some", reason=reason, retry_after_seconds=60)
        call = ingest.stub.StartUpload(_start(size_bytes=9), metadata=ingest.bearer())
        if goes_on:
            assert (await call).storage_element_id == "se-02"
            second.refuses = first.refuses
            call = ingest.stub.StartUpload(_start(size_bytes=9), metadata=ingest.bearer())
        refused = await ended(call)
        assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (refused.reason, refused.text) == (reason, "abort some")
        assert refused.has_retry_info


async def test_an_upload_is_written_asked_for_committed_and_aborted_on_its_element(
    ingest: IngestUnderTest, element: Any
) -> None:
    first, second = await element("se-01"), await element("se-02", priority=200)
    await ingest.announce(first, second)
    started = await ingest.stub.StartUpload(_start(), metadata=ingest.bearer())
    token = (*ingest.bearer(), ("artstore-upload-token", started.upload_token))
    # Another element would be chosen now; the upload stays where it is.
    first.report.mode = types_pb2.ELEMENT_MODE_RO
    await ingest.announce(first)

    call = ingest.stub.WriteUpload(metadata=token)
    await call.write(_piece(started.upload_id, 0, DATA[:4000]))
    await call.initial_metadata()
    await call.write(_piece("", 4000, DATA[4000:]))
    await call.done_writing()
    assert (await call).committed_size_bytes == len(DATA)

    asked = await ingest.stub.GetUpload(
        uploads_pb2.GetUploadRequest(upload_id=started.upload_id), metadata=token
    )
    assert asked.committed_size_bytes == len(DATA)
    committed = await ingest.stub.CommitUpload(
        uploads_pb2.CommitUploadRequest(upload_id=started.upload_id, size_bytes=len(DATA)),
        metadata=token,
    )
    assert first.files[committed.file.file_id][1] == DATA
    assert committed.change_token == "2"
    await ingest.stub.AbortUpload(
        uploads_pb2.AbortUploadRequest(upload_id=started.upload_id), metadata=token
    )
    assert first.sessions == {}
    assert set(first.upload_tokens[1:]) == {"secret"}
    assert set(first.callers) == {"alice"}
    assert second.callers == []


async def test_a_client_that_vanishes_leaves_the_written_bytes(
    ingest: IngestUnderTest, element: Any
) -> None:
    first = await element("se-01")
    await ingest.announce(first)
    started = await ingest.stub.StartUpload(_start(), metadata=ingest.bearer())
    call = ingest.stub.WriteUpload(metadata=ingest.bearer())
    await call.write(_piece(started.upload_id, 0, b"kept"))
    await call.initial_metadata()
    call.cancel()
    await until(lambda: bytes(first.sessions[started.upload_id]) == b"kept")


async def test_an_unknown_upload_is_not_found_and_an_empty_id_is_invalid(
    ingest: IngestUnderTest, element: Any
) -> None:
    await ingest.announce(await element("se-01"))
    for upload_id, code in (
        ("se-99.abc", grpc.StatusCode.NOT_FOUND),
        ("nonsense", grpc.StatusCode.NOT_FOUND),
        ("", grpc.StatusCode.INVALID_ARGUMENT),
    ):
        request = uploads_pb2.GetUploadRequest(upload_id=upload_id)
        error = await status_of(ingest.stub.GetUpload(request, metadata=ingest.bearer()))
        assert error.code() is code, upload_id


async def test_calls_for_a_stopped_element_are_unavailable(
    ingest: IngestUnderTest, element: Any
) -> None:
    first = await element("se-01")
    await ingest.announce(first)
    await first.server.stop(drain_seconds=0.1)
    request = uploads_pb2.GetUploadRequest(upload_id="se-01.abc")
    error = await status_of(ingest.stub.GetUpload(request, metadata=ingest.bearer(), timeout=5))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
