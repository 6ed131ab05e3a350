"""How much readers of downloads are handed at a time."""

from __future__ import annotations

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
    readers = [Reader(unread) for _ in range(BUSY_BYTES // CHUNK_BYTES)]
    assert {reader.chunk_bytes() for reader in readers} == {CHUNK_BYTES}
    assert {reader.ahead_bytes() for reader in readers} == {None}


async def test_where_many_read_those_that_take_at_once_have_whole_chunks(unread: Unread) -> None:
    unread.held_bytes = BUSY_BYTES
    quick, slow = Reader(unread), Reader(unread)
    for reader in (quick, slow):
        with reader.taking(0, stuck=no_word):
            pass
        assert reader.chunk_bytes() == SMALL_CHUNK_BYTES
    with quick.taking(SMALL_CHUNK_BYTES, stuck=no_word):
        pass
    assert (quick.chunk_bytes(), slow.chunk_bytes()) == (CHUNK_BYTES, SMALL_CHUNK_BYTES)
    assert (quick.ahead_bytes(), slow.ahead_bytes()) == (None, AHEAD_BYTES)
    unread.held_bytes += CROWDED_BYTES
    assert (quick.chunk_bytes(), slow.chunk_bytes()) == (SMALL_CHUNK_BYTES, SMALL_CHUNK_BYTES)


@pytest.mark.parametrize("first_read", [False, True])
def test_300_that_begin_together_hold_little(unread: Unread, first_read: bool) -> None:
    readers = [Reader(unread) for _ in range(300)]
    for reader in readers:
        reader.chunk_bytes()
        reader._took_at_once = first_read
    for reader in readers:
        reader.chunk_bytes()
    assert unread.held_bytes <= CROWDED_BYTES + 300 * SMALL_CHUNK_BYTES + CHUNK_BYTES
    for reader in readers:
        reader.close()
    assert unread.held_bytes == 0


async def test_of_a_reader_that_takes_nothing_word_is_given(
    unread: Unread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STUCK_SECONDS", 0.01)
    stuck: list[bool] = []
    with Reader(unread).taking(1, stuck=lambda: stuck.append(True)):
        await until(lambda: stuck)
