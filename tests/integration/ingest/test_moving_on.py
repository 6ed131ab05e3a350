"""An element that accepts an upload and then takes it after all not: another one has it."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from mesh.calls.status import from_rpc_error
from mesh.errors import ArtStoreError, DataLoss, FailedPrecondition, ResourceExhausted
from tests.integration.ingest.conftest import (
    CHUNK,
    IngestUnderTest,
    chunk_message,
    finish_message,
    header_message,
)
from tests.integration.ingest.fakes import PlacedElement, status_of

KEY = "artstore:request:alice:r-1"
READ_ONLY = FailedPrecondition("it takes no writes", reason="STORE_READ_ONLY")


async def two(ingest: IngestUnderTest, element: Any) -> tuple[PlacedElement, PlacedElement]:
    first, second = await element("se-01"), await element("se-02", priority=200)
    await ingest.announce(first, second)
    return first, second


@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize(
    "error", [READ_ONLY, ResourceExhausted("the storage is full", reason="STORAGE_FULL")]
)
async def test_what_was_forwarded_goes_to_the_next_element(
    ingest: IngestUnderTest, element: Any, error: ArtStoreError, after: int
) -> None:
    """At the first chunk, at the second, and at `finish`."""
    first, second = await two(ingest, element)
    first.fails_after = (after, error)
    data = bytes(range(256)) * 4 * 700
    file = await ingest.upload(data, request_id="r-1")
    assert file.storage_element_id == "se-02"
    assert [stored for _, stored in second.files.values()] == [data]
    assert (await ingest.redis.get(KEY)).startswith(b"se-02 ")


async def test_the_client_goes_on_sending_to_the_next_element(
    ingest: IngestUnderTest, element: Any
) -> None:
    first, second = await two(ingest, element)
    first.fails_after = (0, READ_ONLY)
    call = ingest.open()
    await call.write(header_message())
    await call.initial_metadata()
    await call.write(chunk_message(0, b"a" * CHUNK))
    await first.left.wait()
    await second.entered.wait()
    for offset in range(CHUNK, 8 * CHUNK, CHUNK):
        await call.write(chunk_message(offset, b"b" * CHUNK))
    await call.write(finish_message(8 * CHUNK))
    await call.done_writing()
    assert (await call).file.storage_element_id == "se-02"
    assert [stored for _, stored in second.files.values()] == [b"a" * CHUNK + b"b" * 7 * CHUNK]


async def test_beyond_what_is_kept_the_reason_reaches_the_caller(
    ingest: IngestUnderTest, element: Any
) -> None:
    first, second = await two(ingest, element)
    first.fails_after = (6, READ_ONLY)
    call = ingest.open()
    await call.write(header_message(request_id="r-1"))
    await call.initial_metadata()
    for offset in range(0, 6 * CHUNK, CHUNK):
        await call.write(chunk_message(offset, bytes(CHUNK)))
    await call.write(finish_message(6 * CHUNK))
    await call.done_writing()
    error = from_rpc_error(await status_of(call))
    assert (type(error), error.reason) == (FailedPrecondition, "STORE_READ_ONLY")
    assert second.headers == []
    # The request is free: its repeat goes to the next one, and stays there.
    first.refuses = READ_ONLY
    assert (await ingest.upload(b"x", request_id="r-1")).storage_element_id == "se-02"


async def test_what_every_element_would_say_ends_the_upload(
    ingest: IngestUnderTest, element: Any
) -> None:
    first, second = await two(ingest, element)
    for error in (
        DataLoss("damaged"),
        ResourceExhausted("a chunk holds at most 2 MiB", reason="CHUNK_TOO_LARGE"),
    ):
        first.fails_after = (0, error)
        with pytest.raises(grpc.aio.AioRpcError):
            await ingest.upload(b"x")
    assert second.headers == []


async def test_when_all_elements_take_it_after_all_not_the_caller_hears_of_each(
    ingest: IngestUnderTest, element: Any
) -> None:
    first, second = await two(ingest, element)
    first.fails_after = second.fails_after = (0, READ_ONLY)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ingest.upload(b"x")
    assert "se-01: it takes no writes; se-02: it takes no writes" in str(caught.value.details())
    assert (len(first.headers), len(second.headers)) == (1, 1)


async def test_a_client_that_leaves_meanwhile_is_let_go(
    ingest: IngestUnderTest, element: Any
) -> None:
    first, _ = await two(ingest, element)
    call = ingest.open()
    await call.write(header_message())
    await call.initial_metadata()
    call.cancel()
    await first.left.wait()
    assert (await ingest.upload(b"x")).size_bytes == 1
