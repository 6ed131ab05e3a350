"""A repeated request_id goes to the element that has the file."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from artstore.v1 import types_pb2, uploads_pb2
from mesh.errors import DataLoss, ResourceExhausted
from tests.integration.ingest.conftest import (
    IngestUnderTest,
    chunk_message,
    finish_message,
    header_message,
)
from tests.integration.ingest.fakes import status_of
from tests.support.waiting import until

KEY = "artstore:request:alice:r-1"


async def test_a_repeat_gets_the_first_file_though_another_element_comes_first_now(
    ingest: IngestUnderTest, element: Any
) -> None:
    first, second = await element("se-01"), await element("se-02", priority=200)
    await ingest.announce(first, second)
    stored = await ingest.upload(b"once", request_id="r-1")
    first.report.priority = 300
    await ingest.announce(first, second)
    again = await ingest.upload(b"once", request_id="r-1")
    assert again.file_id == stored.file_id
    assert second.headers == []
    assert 6 * 86400 < await ingest.redis.ttl(KEY) <= 7 * 86400


async def test_a_repeat_gets_the_first_file_though_its_element_takes_no_more(
    ingest: IngestUnderTest, element: Any
) -> None:
    first, second = await element("se-01"), await element("se-02", priority=200)
    await ingest.announce(first, second)
    stored = await ingest.upload(b"once", request_id="r-1")
    first.report.writable = False
    first.report.fill_level = types_pb2.FILL_LEVEL_FULL
    await ingest.announce(first)
    assert (await ingest.upload(b"once", request_id="r-1")).file_id == stored.file_id


async def test_a_repeat_is_unavailable_while_the_element_that_may_have_it_is_down(
    ingest: IngestUnderTest, element: Any
) -> None:
    first, second = await element("se-01"), await element("se-02", priority=200)
    await ingest.announce(first, second)
    await ingest.upload(b"once", request_id="r-1")
    await first.server.stop(drain_seconds=0.1)
    call = ingest.open()
    await call.write(header_message(request_id="r-1"))
    error = await status_of(call)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "se-01" in error.details()
    assert second.headers == []
    # Other requests are not held up by it.
    assert (await ingest.upload(b"x", request_id="r-2")).storage_element_id == "se-02"


async def test_an_upload_that_surely_stored_nothing_is_free_to_go_elsewhere(
    ingest: IngestUnderTest, element: Any
) -> None:
    first, second = await element("se-01"), await element("se-02", priority=200)
    first.fails_after = (0, DataLoss("damaged"))
    await ingest.announce(first, second)
    call = ingest.open()
    await call.write(header_message(request_id="r-1"))
    await call.initial_metadata()
    assert (await ingest.redis.get(KEY)).startswith(b"se-01 ")
    await call.write(chunk_message(0, b"x"))
    assert (await status_of(call)).code() is grpc.StatusCode.DATA_LOSS

    async def gone() -> bool:
        return not await ingest.redis.exists(KEY)

    await until(gone)
    await first.server.stop(drain_seconds=0.1)
    assert (await ingest.upload(b"x", request_id="r-1")).storage_element_id == "se-02"


async def test_an_upload_whose_end_is_unknown_keeps_its_place(
    ingest: IngestUnderTest, element: Any
) -> None:
    first, second = await element("se-01"), await element("se-02", priority=200)
    first.hangs_after_finish = True
    await ingest.announce(first, second)
    call = ingest.open()
    await call.write(header_message(request_id="r-1"))
    await call.initial_metadata()
    await call.write(finish_message(0))
    await asyncio.wait_for(first.finished.wait(), 3)
    call.cancel()
    await asyncio.wait_for(first.left.wait(), 3)
    await asyncio.sleep(0.1)
    assert (await ingest.redis.get(KEY)).startswith(b"se-01 ")


async def test_a_repeat_relies_on_the_pin_that_the_first_attempt_made(
    ingest: IngestUnderTest, element: Any
) -> None:
    first = await element("se-01")
    await ingest.announce(first)
    older = ingest.open()
    await older.write(header_message(request_id="r-1"))
    await older.initial_metadata()
    newer = ingest.open()
    await newer.write(header_message(request_id="r-1"))
    await newer.initial_metadata()
    older.cancel()
    await until(first.left.is_set)
    await asyncio.sleep(0.1)
    assert (await ingest.redis.get(KEY)).startswith(b"se-01 ")
    newer.cancel()


async def test_a_repeat_moves_on_when_its_element_says_that_it_does_not_have_it(
    ingest: IngestUnderTest, element: Any
) -> None:
    first, second = await element("se-01"), await element("se-02", priority=200)
    await ingest.announce(first, second)
    await ingest.redis.set(KEY, "se-01 mark")
    first.refuses = ResourceExhausted("full")
    assert (await ingest.upload(b"x", request_id="r-1")).storage_element_id == "se-02"
    assert (await ingest.redis.get(KEY)).startswith(b"se-02 ")


async def test_two_callers_may_use_the_same_request_id(
    ingest: IngestUnderTest, element: Any
) -> None:
    first, second = await element("se-01"), await element("se-02", priority=200)
    await ingest.announce(first, second)
    await ingest.upload(b"alice", request_id="r-1")
    await first.server.stop(drain_seconds=0.1)
    call = ingest.stub.Upload(metadata=ingest.bearer(sub="bob"))
    await call.write(header_message(request_id="r-1"))
    await call.initial_metadata()
    await call.write(finish_message(0))
    assert (await call).file.storage_element_id == "se-02"


async def test_start_upload_pins_its_request_too(ingest: IngestUnderTest, element: Any) -> None:
    first, second = await element("se-01"), await element("se-02", priority=200)
    await ingest.announce(first, second)
    header = uploads_pb2.UploadHeader(original_filename="a", request_id="r-1")
    request = uploads_pb2.StartUploadRequest(header=header)
    await ingest.stub.StartUpload(request, metadata=ingest.bearer())
    first.report.priority = 300
    await ingest.announce(first, second)
    again = await ingest.stub.StartUpload(request, metadata=ingest.bearer())
    assert again.storage_element_id == "se-01"


def left_to(element_id: str, state: str) -> types_pb2.File:
    number = types_pb2.FileState.Value(f"FILE_STATE_{state}")
    return types_pb2.File(
        file_id="x", request_id="r-1", state=number, moved_to=element_id, storage_element_id="se-01"
    )


@pytest.mark.parametrize("state", ["MOVED", "GONE"])
async def test_a_repeat_gets_the_first_file_as_it_is_where_it_went(
    ingest: IngestUnderTest, element: Any, state: str
) -> None:
    first, second = await element("se-01"), await element("se-02", priority=200)
    home = await element("se-03", mode="RW")
    await ingest.announce(first, second, home)
    first.files["x"] = (left_to("se-03", state), b"once")
    there = types_pb2.File(file_id="x", revision=7, state=types_pb2.FILE_STATE_ACTIVE)
    home.files["x"] = (there, b"once")
    assert await ingest.upload(b"once", request_id="r-1") == there
    assert second.headers == []


@pytest.mark.parametrize("state", ["MOVED", "GONE"])
async def test_a_repeat_is_no_new_file_while_the_first_one_is_out_of_reach(
    ingest: IngestUnderTest, element: Any, state: str
) -> None:
    first, second = await element("se-01"), await element("se-02", priority=200)
    await ingest.announce(first, second)
    left = left_to("se-09", state)
    first.files["x"] = (left, b"once")
    call = ingest.open()
    await call.write(header_message(request_id="r-1"))
    if state == "MOVED":
        assert (await call).file == left
    else:
        error = await status_of(call)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "se-09" in str(error.details())
    assert second.headers == []
