"""Followers share what they read of the feed, and miss nothing by it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from storage_server.catalog.feed import Tail
from storage_server.feed.events import BATCH
from storage_server.feed.pieces import KEPT, Pieces


class Entries:
    """A feed of so many entries, and what it was asked."""

    def __init__(self, head: int) -> None:
        self.head = head
        self.epoch = "one"
        self.asked: list[tuple[int, int]] = []
        self.was_asked = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def tail(self, after: int, *, limit: int) -> Tail:
        self.asked.append((after, limit))
        self.was_asked.set()
        changes: Sequence[Any] = range(after + 1, min(after + limit, self.head) + 1)
        found = Tail(self.epoch, self.head, changes)
        await self.go_on.wait()
        return found


def _pieces(feed: Entries) -> Pieces:
    return Pieces(feed)  # type: ignore[arg-type]


async def test_a_full_piece_is_read_once_for_all_who_follow() -> None:
    feed = Entries(3 * BATCH)
    pieces, since = _pieces(feed), time.monotonic()
    feed.go_on.clear()
    reading = [asyncio.create_task(pieces.after("one", 0, since=since)) for _ in range(3)]
    await asyncio.sleep(0)
    feed.go_on.set()
    first, *others = [(await piece).batch for piece in reading]
    assert all(other is first for other in others)
    assert (await pieces.after("one", 0, since=since)).batch is first
    assert feed.asked == [(0, BATCH)]


async def test_one_whose_place_is_within_a_piece_is_told_its_rest_and_meets_the_others() -> None:
    feed = Entries(3 * BATCH)
    pieces, since = _pieces(feed), time.monotonic()
    whole = await pieces.after("one", 0, since=since)
    rest = await pieces.after("one", 7, since=since)
    assert list(rest.batch.changes) == list(whole.batch.changes)[7:]
    assert list(rest.tail.changes) == list(rest.batch.changes)
    assert feed.asked == [(0, BATCH)]
    await pieces.after("one", BATCH, since=since)
    assert feed.asked == [(0, BATCH), (BATCH, BATCH)]


async def test_the_end_of_the_feed_is_read_anew_by_each_who_asks() -> None:
    feed = Entries(3)
    pieces, since = _pieces(feed), time.monotonic()
    feed.go_on.clear()
    early = asyncio.create_task(pieces.after("one", 0, since=since))
    await feed.was_asked.wait()
    # A change that is committed after the first has read, and before the second asks.
    feed.head = 4
    late = asyncio.create_task(pieces.after("one", 0, since=since))
    await asyncio.sleep(0)
    feed.go_on.set()
    assert (await early).tail.head == 3
    assert (await late).tail.head == 4


async def test_nothing_is_told_that_was_read_before_the_place_was_found_to_be_one() -> None:
    feed = Entries(BATCH)
    pieces = _pieces(feed)
    await pieces.after("one", 0, since=time.monotonic())
    later = time.monotonic()
    await pieces.after("one", 0, since=later)
    assert len(feed.asked) == 2


async def test_a_piece_of_a_history_that_is_over_is_not_told() -> None:
    feed = Entries(BATCH)
    pieces, since = _pieces(feed), time.monotonic()
    await pieces.after("one", 0, since=since)
    feed.epoch = "two"
    assert (await pieces.after("two", 0, since=since)).tail.epoch == "two"


async def test_only_a_few_pieces_are_kept() -> None:
    feed = Entries(BATCH * (KEPT + 3))
    pieces, since = _pieces(feed), time.monotonic()
    for number in range(KEPT + 3):
        await pieces.after("one", BATCH * number, since=since)
    feed.asked.clear()
    await pieces.after("one", 0, since=since)
    await pieces.after("one", BATCH * (KEPT + 2), since=since)
    assert feed.asked == [(0, BATCH)]
