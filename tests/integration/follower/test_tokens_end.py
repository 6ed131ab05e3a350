"""A follower whose token ends goes on with the next one: nothing is missed, nothing broke off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from storage_server.catalog.feed import Feed
from tests.support.following import Following
from tests.support.storage_rig import Node
from tests.support.waiting import until

GOES_ON = "following goes on with a new token"


@asynccontextmanager
async def short_tokens(following: Following, node: Node) -> AsyncIterator[None]:
    """Each lives three seconds at most, and the next one is there long before."""

    async def renew() -> None:
        while True:
            following.token = node.token(role="SERVICE", exp=int(time.time()) + 3)
            await asyncio.sleep(0.2)

    task = asyncio.create_task(renew())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_nothing_is_missed_when_tokens_end(
    own_element: Node, follow: Callable[..., Following], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, hold = Feed.rows_in_batches, asyncio.Event()
    hold.set()

    async def slowly(feed: Feed, **options: Any) -> AsyncIterator[Any]:
        await hold.wait()
        async for rows in real(feed, **options):
            yield rows

    monkeypatch.setattr(Feed, "rows_in_batches", slowly)
    following = follow(own_element)
    with capture_logs() as logs:

        def told(event: str) -> int:
            return sum(one["event"] == event for one in logs)

        async with short_tokens(following, own_element), following.running():
            await own_element.upload()
            await following.agrees()
            # A whole snapshot is read beside the tail, longer than the tail's token lives.
            hold.clear()
            snapshot = asyncio.create_task(following.fleet.resync(seconds=20))
            while told(GOES_ON) < 2:
                await own_element.upload()
                await asyncio.sleep(0.1)
            assert not snapshot.done()
            hold.set()
            assert (await snapshot)["se-01"] > 0
            await following.agrees()
        assert told("following broke off") == 0
    assert following.refusals == 0
    status = await following.status()
    assert status is not None and status.failures == 0


async def test_one_whose_every_token_is_over_waits_between_its_tries(
    own_element: Node, follow: Callable[..., Following]
) -> None:
    following = follow(own_element)
    following.token = own_element.token(role="SERVICE", exp=int(time.time()) - 10)
    async with following.running():
        await until(lambda: following.refusals)
        await own_element.upload()
        await following.agrees()
