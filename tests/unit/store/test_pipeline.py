"""The pipeline between the event loop and a writing thread."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import AsyncIterator, Sequence

import pytest

from mesh.errors import ResourceExhausted, Unavailable
from storage_server.store.pipeline import BATCH_BYTES, Pipeline
from storage_server.store.threads import Threads


@pytest.fixture
async def threads() -> AsyncIterator[Threads]:
    made = Threads("test", count=2, deadline_seconds=0.3)
    yield made
    made.close()


async def test_everything_arrives_in_order(threads: Threads) -> None:
    arrived: list[bytes] = []
    pipeline = Pipeline(threads, arrived.extend, what="test")
    sent = [bytes([n % 256]) * (n * 997) for n in range(300)]
    for data in sent:
        await pipeline.write(data)
    await pipeline.drain()
    assert b"".join(arrived) == b"".join(sent)


async def test_writer_waits_when_the_thread_is_behind(threads: Threads) -> None:
    go = threading.Event()
    held: list[int] = []

    def sink(batch: Sequence[bytes]) -> None:
        go.wait(5)
        held.append(sum(map(len, batch)))

    pipeline = Pipeline(threads, sink, what="test")
    half = b"x" * (BATCH_BYTES // 2)
    await pipeline.write(half)
    await pipeline.write(half)
    third = asyncio.create_task(pipeline.write(half))
    await asyncio.sleep(0.05)
    assert not third.done()
    go.set()
    await third
    await pipeline.drain()
    assert held == [BATCH_BYTES // 2, BATCH_BYTES]


async def test_error_of_the_thread_meets_the_writer_and_stays(threads: Threads) -> None:
    def full(batch: Sequence[bytes]) -> None:
        raise OSError(errno.ENOSPC, "full")

    pipeline = Pipeline(threads, full, what="test")
    await pipeline.write(b"x")
    for _ in range(2):
        with pytest.raises(ResourceExhausted):
            await pipeline.drain()
    with pytest.raises(ResourceExhausted):
        await pipeline.write(b"y")


async def test_silent_thread_is_unavailable_within_the_deadline(threads: Threads) -> None:
    go = threading.Event()
    pipeline = Pipeline(threads, lambda batch: bool(go.wait(5)) and None, what="test")
    await pipeline.write(b"x")
    async with asyncio.timeout(2):
        with pytest.raises(Unavailable):
            await pipeline.drain()
    go.set()


async def test_closed_threads_are_unavailable(threads: Threads) -> None:
    threads.close()
    with pytest.raises(Unavailable):
        await Pipeline(threads, lambda batch: None, what="test").write(b"x")
