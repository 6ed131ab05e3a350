"""Valkey only wakes followers: at each (re)subscription, and when an element has news."""

from __future__ import annotations

import asyncio
from typing import Any

from mesh.elements.discovery import CHANGES_CHANNEL, REPORT_CHANNEL
from mesh.follower import hints
from mesh.redis import open_redis
from tests.support.services import ValkeyProcess
from tests.support.waiting import until


class Woken:
    """Stands for a fleet: remembers who was woken."""

    def __init__(self) -> None:
        self.who: list[str] = []

    def wake(self, element_id: str = "") -> None:
        self.who.append(element_id)


async def test_followers_are_woken_by_hints_and_by_each_new_subscription(
    own_valkey: ValkeyProcess,
) -> None:
    woken: Any = Woken()
    listening = asyncio.create_task(hints.wake_on_hints(own_valkey.url, woken))
    try:
        await until(lambda: woken.who == [""])
        redis = open_redis(own_valkey.url)
        # Subscribing and being subscribed are not the same moment.
        await until(lambda: _published(redis, CHANGES_CHANNEL, "se-02"))
        await until(lambda: "se-02" in woken.who)
        await _published(redis, REPORT_CHANNEL, '{"storage_element_id": "se-01"}')
        await until(lambda: woken.who[-1] == "")
        await redis.aclose()
        known = len(woken.who)
        await asyncio.to_thread(own_valkey.stop)
        await asyncio.to_thread(own_valkey.start)
        await until(lambda: len(woken.who) > known, 15)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def _published(redis: Any, channel: str, text: str) -> bool:
    return bool(await redis.publish(channel, text))
