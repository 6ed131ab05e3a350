"""How much readers of downloads are handed at a time."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

import pytest

from mesh.concurrency import unread as module
from mesh.concurrency.unread import (
    AHEAD_BYTES,
    BUSY_BYTES,
    CROWDED_BYTES,
    SMALL_CHUNK_BYTES,
    Reader,
    Unread,
)
from mesh.contract import CHUNK_BYTES
from tests.support.waiting import until


@pytest.fixture
def unread() -> Unread:
    return Unread()


def no_word() -> None:
    raise AssertionError("stuck")


def test_few_readers_have_whole_chunks(unread: Unread) -> None:
    assert Reader(unread).chunk_bytes() == CHUNK_BYTES


async def test_where_much_waits_only_those_that_take_at_once_have_whole_chunks(
    unread: Unread,
) -> None:
    quick, slow = Reader(unread), Reader(unread)
    with quick.taking(CHUNK_BYTES, stuck=no_word):
        pass
    unread.waiting_bytes = BUSY_BYTES
    assert (quick.chunk_bytes(), slow.chunk_bytes()) == (CHUNK_BYTES, SMALL_CHUNK_BYTES)
    assert (quick.ahead_bytes(), slow.ahead_bytes()) == (None, AHEAD_BYTES)
    unread.waiting_bytes = CROWDED_BYTES
    assert (quick.chunk_bytes(), slow.chunk_bytes()) == (SMALL_CHUNK_BYTES, SMALL_CHUNK_BYTES)


async def test_300_that_read_nothing_hold_little(
    unread: Unread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STUCK_SECONDS", 0.01)
    stuck, held, writes = list[int](), 0, ExitStack()
    for n in range(300):
        reader = Reader(unread)
        size = reader.chunk_bytes()
        held += size
        writes.enter_context(reader.taking(size, stuck=partial(stuck.append, n)))
    assert held < BUSY_BYTES + 300 * SMALL_CHUNK_BYTES + CHUNK_BYTES
    assert unread.waiting_bytes == held
    await until(lambda: len(stuck) == 300)
    writes.close()
    assert unread.waiting_bytes == 0
