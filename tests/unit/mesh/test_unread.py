"""How much readers of downloads are handed at a time."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from mesh.concurrency import unread as module
from mesh.concurrency.unread import BUSY_BYTES, CROWDED_BYTES, SMALL_CHUNK_BYTES, Reader, Unread
from mesh.contract import CHUNK_BYTES
from tests.support.waiting import until


@pytest.fixture
def unread() -> Unread:
    return Unread()


async def at_once() -> None:
    pass


async def never() -> None:
    await asyncio.Event().wait()


def no_word() -> None:
    raise AssertionError("stuck")


def test_few_readers_have_whole_chunks(unread: Unread) -> None:
    assert Reader(unread).chunk_bytes() == CHUNK_BYTES


async def test_where_much_waits_only_those_that_take_at_once_have_whole_chunks(
    unread: Unread,
) -> None:
    quick, slow = Reader(unread), Reader(unread)
    await quick.take(at_once(), CHUNK_BYTES, stuck=no_word)
    unread.waiting_bytes = BUSY_BYTES
    assert (quick.chunk_bytes(), slow.chunk_bytes()) == (CHUNK_BYTES, SMALL_CHUNK_BYTES)
    unread.waiting_bytes = CROWDED_BYTES
    assert (quick.chunk_bytes(), slow.chunk_bytes()) == (SMALL_CHUNK_BYTES, SMALL_CHUNK_BYTES)


async def test_300_that_read_nothing_hold_little(
    unread: Unread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STUCK_SECONDS", 0.01)
    stuck, held, writes = list[int](), 0, list[asyncio.Task[None]]()
    for n in range(300):
        reader = Reader(unread)
        size = reader.chunk_bytes()
        held += size
        write = reader.take(never(), size, stuck=partial(stuck.append, n))
        writes.append(asyncio.create_task(write))
        await asyncio.sleep(0)
    assert held < BUSY_BYTES + 300 * SMALL_CHUNK_BYTES + CHUNK_BYTES
    assert unread.waiting_bytes == held
    await until(lambda: len(stuck) == 300)
    for task in writes:
        task.cancel()
    await asyncio.wait(writes)
    assert unread.waiting_bytes == 0
