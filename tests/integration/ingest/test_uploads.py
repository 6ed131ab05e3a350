"""Uploads in one stream, through a real ingest server to fake elements."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from artstore.v1 import types_pb2
from ingest_server.uploads.element_stream import ElementStream
from mesh.errors import (
    AlreadyExists,
    ArtStoreError,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
)
from tests.integration.ingest.conftest import (
    CHUNK,
    IngestUnderTest,
    chunk_message,
    finish_message,
    header_message,
    running_ingest,
)
from tests.integration.ingest.fakes import status_of
from tests.support.waiting import until

DATA = bytes(range(256)) * 4096 * 2


async def test_a_file_arrives_byte_for_byte_and_belongs_to_the_caller(
    ingest: IngestUnderTest, element: Any
) -> None:
    first = await element("se-01")
    await ingest.announce(first)
    file = await ingest.upload(DATA, metadata=(("x-request-id", "trace-1"),))
    assert first.files[file.file_id][1] == DATA
    assert file.created_by == "alice"
    assert first.peers == ["ingest-server"]
    assert first.request_ids == ["trace-1"]


async def test_an_empty_file_is_a_file(ingest: IngestUnderTest, element: Any) -> None:
    first = await element("se-01")
    await ingest.announce(first)
    file = await ingest.upload(b"")
    assert first.files[file.file_id][1] == b""


async def test_permanent_files_go_to_rw_and_temporary_ones_to_edit_by_priority(
    ingest: IngestUnderTest, element: Any
) -> None:
    later = await element("se-01", priority=200)
    sooner = await element("se-02", priority=100)
    permanent = await element("se-03", mode="RW", priority=300)
    await ingest.announce(later, sooner, permanent)
    assert (await ingest.upload(b"x")).storage_element_id == "se-02"
    policy = types_pb2.RETENTION_POLICY_PERMANENT
    assert (await ingest.upload(b"x", retention_policy=policy)).storage_element_id == "se-03"


@pytest.mark.parametrize(
    "refusal",
    [
        ResourceExhausted("full"),
        FailedPrecondition("mode ro", reason="MODE"),
        Unavailable("the database is down"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_element_that_refuses_is_passed_over_unseen(
    ingest: IngestUnderTest, element: Any, refusal: ArtStoreError
) -> None:
    first, second = await element("se-01"), await element("se-02", priority=200)
    first.refuses = refusal
    await ingest.announce(first, second)
    file = await ingest.upload(DATA, size_bytes=len(DATA))
    assert file.storage_element_id == "se-02"
    assert second.files[file.file_id][1] == DATA
    assert len(first.headers) == 1


async def test_a_silent_element_is_passed_over_and_skipped_for_a_while(
    ingest: IngestUnderTest, element: Any
) -> None:
    first, second = await element("se-01"), await element("se-02", priority=200)
    first.silent = True
    await ingest.announce(first, second)
    assert (await ingest.upload(b"x")).storage_element_id == "se-02"
    began = time.monotonic()
    assert (await ingest.upload(b"x")).storage_element_id == "se-02"
    assert time.monotonic() - began < 0.4, "the silent one was asked again"
    assert len(first.headers) == 1


async def test_a_stopped_element_is_passed_over(ingest: IngestUnderTest, element: Any) -> None:
    first, second = await element("se-01"), await element("se-02", priority=200)
    await ingest.announce(first, second)
    assert (await ingest.upload(b"x")).storage_element_id == "se-01"
    await first.server.stop(drain_seconds=0.1)
    assert (await ingest.upload(DATA)).storage_element_id == "se-02"


async def test_a_size_that_fits_nowhere_is_refused_before_any_element_is_asked(
    ingest: IngestUnderTest, element: Any
) -> None:
    first = await element("se-01")
    await ingest.announce(first)
    call = ingest.open()
    await call.write(header_message(size_bytes=200 * 2**30))
    error = await status_of(call)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "no element has room" in error.details()
    assert first.headers == []


async def test_when_all_elements_refuse_for_room_the_client_is_told_so(
    ingest: IngestUnderTest, element: Any
) -> None:
    first, second = await element("se-01"), await element("se-02", priority=200)
    first.refuses = second.refuses = ResourceExhausted("full")
    await ingest.announce(first, second)
    call = ingest.open()
    await call.write(header_message(size_bytes=5))
    error = await status_of(call)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "no element has room for 5 bytes" in error.details()


async def test_without_a_healthy_element_it_is_unavailable_with_retry_info(
    ingest: IngestUnderTest, element: Any
) -> None:
    broken, other = await element("se-01"), await element("se-03", mode="RW")
    broken.report.writable = False
    await ingest.announce(broken, other)
    call = ingest.open()
    await call.write(header_message())
    error = await status_of(call)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "se-01" in error.details()
    assert "se-03" not in error.details()
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in _details(error))
    assert retry.retry_delay.ToMilliseconds() > 0


@pytest.mark.parametrize(("mode", "policy"), [("edit", "TEMPORARY"), ("rw", "PERMANENT")])
async def test_without_any_element_of_the_mode_the_missing_mode_is_named(
    ingest: IngestUnderTest, element: Any, mode: str, policy: str
) -> None:
    other = "RW" if mode == "edit" else "EDIT"
    await ingest.announce(await element("se-01", mode="RO"), await element("se-02", mode=other))
    header = {"retention_policy": f"RETENTION_POLICY_{policy}"}
    call = ingest.open()
    await call.write(header_message(**header))
    error = await status_of(call)
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert f"ARTSTORE_MODE={mode}" in error.details()
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in _details(error))
    assert (info.reason, dict(info.metadata)) == ("NO_ELEMENT", {"mode": mode})


async def test_an_element_of_a_missing_mode_is_used_as_soon_as_admin_lists_it(
    ingest: IngestUnderTest, element: Any
) -> None:
    await ingest.announce(await element("se-02"))
    permanent = {"retention_policy": "RETENTION_POLICY_PERMANENT"}
    call = ingest.open()
    await call.write(header_message(**permanent))
    assert (await status_of(call)).code() is grpc.StatusCode.FAILED_PRECONDITION
    # Nothing of it is in Redis.
    ingest.registry.elements.append(await element("se-03", mode="RW"))
    assert (await ingest.upload(b"x", **permanent)).storage_element_id == "se-03"


async def test_what_every_element_would_refuse_is_not_tried_elsewhere(
    ingest: IngestUnderTest, element: Any
) -> None:
    first, second = await element("se-01"), await element("se-02", priority=200)
    first.refuses = AlreadyExists("request_id is taken", reason="REQUEST_ID")
    await ingest.announce(first, second)
    call = ingest.open()
    await call.write(header_message())
    error = await status_of(call)
    assert error.code() is grpc.StatusCode.ALREADY_EXISTS
    assert second.headers == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"original_filename": ""}, "original_filename"),
        ({"size_bytes": -1}, "size_bytes"),
        ({"retention_policy": 77}, "retention_policy"),
        ({"request_id": "x" * 129}, "request_id"),
    ],
)
async def test_a_bad_header_is_refused_without_asking_an_element(
    ingest: IngestUnderTest, element: Any, fields: dict[str, Any], field: str
) -> None:
    first = await element("se-01")
    await ingest.announce(first)
    call = ingest.open()
    await call.write(header_message(**fields))
    error = await status_of(call)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in _details(error))
    assert bad.field_violations[0].field == field
    assert first.headers == []


async def test_a_stream_that_begins_with_bytes_is_refused(
    ingest: IngestUnderTest, element: Any
) -> None:
    await ingest.announce(await element("se-01"))
    call = ingest.open()
    await call.write(chunk_message(0, b"x"))
    assert (await status_of(call)).code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_later_failure_passes_through_with_its_details(
    ingest: IngestUnderTest, element: Any
) -> None:
    first, second = await element("se-01"), await element("se-02", priority=200)
    first.fails_after = (
        3,
        DataLoss("chunk 3 is damaged", reason="CRC32C", metadata={"offset": "1572864"}),
    )
    await ingest.announce(first, second)
    for _ in range(10):
        call = ingest.open()
        await call.write(header_message())
        await call.initial_metadata()
        for number in range(4):
            await call.write(chunk_message(number * CHUNK, b"x" * CHUNK))
        error = await status_of(call)
        assert error.code() is grpc.StatusCode.DATA_LOSS
        assert error.details() == "chunk 3 is damaged"
        info = error_details_pb2.ErrorInfo()
        assert any(detail.Unpack(info) for detail in _details(error))
        assert (info.reason, dict(info.metadata)) == ("CRC32C", {"offset": "1572864"})
    assert second.headers == []


async def test_an_element_that_fails_while_the_client_pauses_ends_the_call_at_once(
    ingest: IngestUnderTest, element: Any
) -> None:
    first = await element("se-01")
    first.fails_after = (1, InvalidArgument("no", field="payload"))
    await ingest.announce(first)
    call = ingest.open()
    await call.write(header_message())
    await call.initial_metadata()
    await call.write(chunk_message(0, b"x"))
    await call.write(chunk_message(1, b"x"))
    async with asyncio.timeout(3):
        assert (await status_of(call)).code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_stream_without_finish_stores_nothing(
    ingest: IngestUnderTest, element: Any
) -> None:
    first = await element("se-01")
    await ingest.announce(first)
    call = ingest.open()
    await call.write(header_message())
    await call.initial_metadata()
    await call.write(chunk_message(0, DATA[:CHUNK]))
    await call.done_writing()
    assert (await status_of(call)).code() is grpc.StatusCode.INVALID_ARGUMENT
    await asyncio.wait_for(first.left.wait(), 3)
    assert first.files == {}


@pytest.mark.parametrize("message", [chunk_message(3, b"x"), finish_message(3), header_message()])
async def test_a_message_after_finish_stores_nothing(
    ingest: IngestUnderTest, element: Any, message: Any
) -> None:
    first = await element("se-01")
    await ingest.announce(first)
    call = ingest.open()
    await call.write(header_message())
    await call.initial_metadata()
    await call.write(chunk_message(0, b"abc"))
    await call.write(finish_message(3))
    await call.write(message)
    await call.done_writing()
    assert (await status_of(call)).code() is grpc.StatusCode.INVALID_ARGUMENT
    await asyncio.wait_for(first.left.wait(), 3)
    assert first.files == {}
    assert not first.finished.is_set()


async def test_a_client_cut_in_mid_upload_cancels_the_elements_stream(
    ingest: IngestUnderTest, element: Any
) -> None:
    first = await element("se-01")
    await ingest.announce(first)
    call = ingest.open()
    await call.write(header_message())
    await call.initial_metadata()
    await call.write(chunk_message(0, DATA[:CHUNK]))
    await until(lambda: first.taken_bytes == CHUNK)
    call.cancel()
    await asyncio.wait_for(first.left.wait(), 3)
    assert first.files == {}
    assert not first.finished.is_set()


async def test_a_slow_element_holds_back_a_fast_client(
    ingest: IngestUnderTest, element: Any
) -> None:
    first = await element("se-01")
    await ingest.announce(first)
    first.flow.clear()
    call = ingest.open()
    await call.write(header_message())
    await call.initial_metadata()
    sent = 0

    async def send() -> None:
        nonlocal sent
        for number in range(128):
            await call.write(chunk_message(number * CHUNK, b"x" * CHUNK))
            sent += CHUNK
        await call.write(finish_message(128 * CHUNK))
        await call.done_writing()

    sending = asyncio.create_task(send())
    await asyncio.sleep(1.0)
    # What lies in windows and buffers of three processes' worth of connections.
    assert sent <= 16 * 2**20, f"{sent} bytes were taken though the element takes none"
    first.flow.set()
    await sending
    assert (await call).file.size_bytes == 128 * CHUNK


async def test_an_element_that_takes_no_bytes_ends_the_upload(
    signer: Any, redis_url: str, tmp_path: Any, element: Any
) -> None:
    async with running_ingest(
        signer, redis_url, tmp_path, ingest_stall_seconds=0.3, ingest_idle_seconds=5
    ) as ingest:
        first = await element("se-01")
        await ingest.announce(first)
        first.flow.clear()
        stream = ElementStream(
            "ingest",
            ingest.channel.stream_unary("/artstore.v1.IngestService/Upload"),
            ingest.bearer(),
            stall_seconds=10,
        )
        assert await stream.open(header_message().SerializeToString(), 2)
        piece = chunk_message(0, b"x" * CHUNK).SerializeToString()
        async with asyncio.timeout(5):
            while await stream.write(piece):
                pass
            with pytest.raises(Unavailable, match="taken no bytes"):
                await stream.answer()
        first.flow.set()


async def test_a_client_that_sends_nothing_is_let_go(
    signer: Any, redis_url: str, tmp_path: Any, element: Any
) -> None:
    async with running_ingest(signer, redis_url, tmp_path, ingest_idle_seconds=0.3) as ingest:
        first = await element("se-01")
        await ingest.announce(first)
        call = ingest.open()
        await call.write(header_message())
        await call.initial_metadata()
        async with asyncio.timeout(5):
            assert (await status_of(call)).code() is grpc.StatusCode.ABORTED
        await asyncio.wait_for(first.left.wait(), 3)


async def test_an_element_that_dies_in_mid_upload_is_unavailable(
    ingest: IngestUnderTest, element: Any
) -> None:
    first = await element("se-01")
    await ingest.announce(first)
    call = ingest.open()
    await call.write(header_message())
    await call.initial_metadata()
    await call.write(chunk_message(0, b"x"))
    await until(lambda: first.taken_bytes == 1)
    await first.server.stop(drain_seconds=0.05)
    async with asyncio.timeout(5):
        assert (await status_of(call)).code() is grpc.StatusCode.UNAVAILABLE


async def test_a_role_that_may_not_upload_is_denied(ingest: IngestUnderTest, element: Any) -> None:
    first = await element("se-01")
    await ingest.announce(first)
    call = ingest.stub.Upload(metadata=ingest.bearer(role="READONLY"))
    await call.write(header_message())
    assert (await status_of(call)).code() is grpc.StatusCode.PERMISSION_DENIED
    assert first.headers == []


def _details(error: grpc.aio.AioRpcError) -> Any:
    for key, value in error.trailing_metadata():
        if key == "grpc-status-details-bin":
            return status_pb2.Status.FromString(value).details
    return []
