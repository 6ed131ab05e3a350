"""Before a status goes out, a stream is read to its end or to a silence, within limits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio
import pytest

from mesh.calls.draining import drain
from mesh.errors import InvalidArgument

FOREVER = 60.0


def stream(*messages: Any, then: Any = None) -> tuple[Callable[[], Awaitable[Any]], list[Any]]:
    """A `read` that answers these; then it is silent, raises, or says the last one for ever."""
    left = list(messages)

    async def read() -> Any:
        await asyncio.sleep(0)
        if left:
            return left.pop(0)
        if isinstance(then, Exception):
            raise then
        if then is None:
            await asyncio.sleep(FOREVER)
        return then

    return read, left


async def drained(read: Callable[[], Awaitable[Any]], **limits: Any) -> None:
    async with asyncio.timeout(5):
        await drain(read, **({"seconds": FOREVER, "silence_seconds": FOREVER} | limits))


async def test_it_reads_to_the_end() -> None:
    read, left = stream(b"a", b"b", grpc.aio.EOF, b"never")
    await drained(read)
    assert left == [b"never"]


async def test_a_silent_client_waits_for_the_status() -> None:
    read, left = stream(b"a", b"b")
    await drained(read, silence_seconds=0.01)
    assert left == []


async def test_one_that_goes_on_and_on_has_its_time() -> None:
    read, _ = stream(then=b"more")
    await drained(read, seconds=0.02)


async def test_one_that_goes_on_and_on_has_its_share() -> None:
    read, left = stream(b"1234", b"5678", b"never")
    await drained(read, most_bytes=8)
    assert left == [b"never"]


@pytest.mark.parametrize(
    "error", [grpc.aio.UsageError("over"), InvalidArgument("no message of this call")]
)
async def test_what_cannot_be_read_ends_it(error: Exception) -> None:
    read, _ = stream(b"a", then=error)
    await drained(read)


async def test_a_cancelled_caller_is_cancelled() -> None:
    read, _ = stream()
    task = asyncio.create_task(drained(read))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
