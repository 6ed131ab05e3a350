"""The pipeline between the event loop and a writing thread."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import AsyncIterator, Sequence

import pytest

from mesh.errors import ResourceExhausted, Unavailable
from storage_server.store.pipeline import BATCH_BYTES, HELD_BYTES, Pipeline, Written
from storage_server.store.threads import Threads


@pytest.fixture
async def threads() -> AsyncIterator[Threads]:
    made = Threads("test", count=2, deadline_seconds=0.3)
    yield made
    made.close()


async def test_everything_arrives_in_order(threads: Threads) -> None:
    arrived: list[Written] = []
    pipeline = Pipeline(threads, arrived.extend, what="test")
    sent = [bytes([n % 256]) * (n * 997) for n in range(300)]
    for data in sent:
        await pipeline.write(data)
    await pipeline.drain()
    assert b"".join(one.data for one in arrived) == b"".join(sent)
    assert threads.held_bytes == 0


async def test_writer_waits_when_the_thread_is_behind(threads: Threads) -> None:
    go = threading.Event()
    held: list[int] = []

    def sink(batch: Sequence[Written]) -> None:
        go.wait(5)
        held.append(sum(len(one.data) for one in batch))

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


async def test_of_many_writers_none_is_ahead_of_its_thread(threads: Threads) -> None:
    threads.deadline_seconds = 10
    go = threading.Event()
    many = [
        Pipeline(threads, lambda batch: bool(go.wait(5)) and None, what="test")
        for _ in range(HELD_BYTES // BATCH_BYTES)
    ]
    for pipeline in many:
        await pipeline.write(bytes(BATCH_BYTES))
    one_more = Pipeline(threads, lambda batch: bool(go.wait(5)) and None, what="test")
    written = asyncio.create_task(one_more.write(b"x"))
    await asyncio.sleep(0.05)
    assert not written.done()
    go.set()
    await written
    for pipeline in many:
        await pipeline.drain()
    assert threads.held_bytes == 0


async def test_bytes_that_nobody_wants_any_more_count_no_longer(threads: Threads) -> None:
    go = threading.Event()
    pipeline = Pipeline(threads, lambda batch: bool(go.wait(5)) and None, what="test")
    await pipeline.write(b"x")
    await pipeline.write(b"y")
    go.set()
    await pipeline.settle()
    assert threads.held_bytes == 0


async def test_error_of_the_thread_meets_the_writer_and_stays(threads: Threads) -> None:
    def full(batch: Sequence[Written]) -> None:
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
