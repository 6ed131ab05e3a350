"""Followers that wait look at the feed together, and miss nothing."""

from __future__ import annotations

import asyncio
import time

from mesh.concurrency.bell import Bell
from mesh.errors import Unavailable
from storage_server.catalog.feed import Head
from storage_server.feed.news import News


class Feed:
    """How far it is, as another process writes it."""

    def __init__(self) -> None:
        self.sequence = 0
        self.looks = 0
        self.down = False

    async def head(self) -> Head:
        self.looks += 1
        await asyncio.sleep(0)
        if self.down:
            raise Unavailable("down")
        return Head("e1", self.sequence, 0, 0, True)


class Follower:
    """Reads to the end, and waits for more."""

    def __init__(self, feed: Feed, news: News, *, every: float) -> None:
        self._feed, self._news, self._every = feed, news, every
        self.at = -1
        self.beats = 0

    async def run(self) -> None:
        rings = self._news.listen()
        while True:
            rings.take()
            if self._feed.down:
                raise Unavailable("down")
            at = self._feed.sequence
            await asyncio.sleep(0)
            self.at = at
            self._news.seen("e1", at)
            while await self._news.none_by(
                time.monotonic() + 4 * self._every, rings, "e1", at, every=self._every
            ):
                self.beats += 1


async def test_many_followers_look_as_often_as_one() -> None:
    feed, every = Feed(), 0.05
    news = News(feed.head, Bell())
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(Follower(feed, news, every=every).run(), name=f"follower {number}")
            for number in range(20)
        ]
        began = time.monotonic()
        await asyncio.sleep(8 * every)
        most = (time.monotonic() - began) / every + 1
        assert 1 <= feed.looks <= most
        for task in tasks:
            task.cancel()


async def test_what_another_process_writes_reaches_all_with_one_look() -> None:
    feed, every = Feed(), 0.02
    news = News(feed.head, Bell())
    followers = [Follower(feed, news, every=every) for _ in range(5)]
    tasks = [asyncio.create_task(follower.run()) for follower in followers]
    for sequence in range(1, 6):
        feed.sequence = sequence
        async with asyncio.timeout(5):
            while any(follower.at != sequence for follower in followers):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
    for task in tasks:
        task.cancel()


async def test_what_this_process_writes_is_not_waited_for() -> None:
    feed, bell = Feed(), Bell()
    follower = Follower(feed, News(feed.head, bell), every=3600.0)
    task = asyncio.create_task(follower.run())
    async with asyncio.timeout(5):
        for sequence in range(3):
            feed.sequence = sequence
            bell.ring()
            while follower.at != sequence:  # noqa: ASYNC110
                await asyncio.sleep(0)
    assert feed.looks == 0
    task.cancel()


async def test_while_nothing_comes_it_is_said_so_now_and_then() -> None:
    feed = Feed()
    follower = Follower(feed, News(feed.head, Bell()), every=0.01)
    task = asyncio.create_task(follower.run())
    async with asyncio.timeout(5):
        while follower.beats < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    task.cancel()


async def test_a_database_that_is_down_ends_the_wait_of_all() -> None:
    feed = Feed()
    news = News(feed.head, Bell())
    tasks = [asyncio.create_task(Follower(feed, news, every=0.02).run()) for _ in range(5)]
    await asyncio.sleep(0)
    feed.down = True
    async with asyncio.timeout(5):
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, Unavailable) for end in ends)


async def test_a_feed_that_was_made_anew_is_news() -> None:
    feed = Feed()
    news = News(feed.head, Bell())
    rings = news.listen()
    news.seen("e0", 7)
    assert not await news.none_by(time.monotonic() + 5, rings, "e0", 7, every=0.01)
