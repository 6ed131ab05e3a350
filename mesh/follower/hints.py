"""Hints by Valkey: somebody's feed has moved, or an element is back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mesh.concurrency.backoff import Backoff
from mesh.elements.discovery import CHANGES_CHANNEL, REPORT_CHANNEL
from mesh.errors import Unavailable
from mesh.follower.fleet import FollowerFleet
from mesh.redis import open_redis, translated

# A subscription without a word for so long is made anew: a dead connection tells nothing.
QUIET_SECONDS = 30.0
RETRY_SECONDS = 1.0


async def wake_on_hints(url: str, fleet: FollowerFleet) -> None:
    """Wake followers that wait after an error when an element says that it changed or is back.

    Hints missed while Valkey is away cost time only: followers try again by themselves.
    """
    backoff = Backoff(RETRY_SECONDS)
    redis = open_redis(url, timeout_seconds=QUIET_SECONDS)
    try:
        while True:
            try:
                with translated("hints of changes"):
                    async with redis.pubsub() as channel:
                        await channel.subscribe(CHANGES_CHANNEL, REPORT_CHANNEL)
                        fleet.wake()
                        async for message in channel.listen():
                            if message["type"] == "message":
                                fleet.wake(_element_of(message))
            except Unavailable:
                await backoff.pause()
    finally:
        await redis.aclose()


def _element_of(message: Mapping[str, Any]) -> str:
    """The element that a hint names; empty for a report, which is a whole message."""
    name = message["data"]
    text = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
    return "" if text.startswith("{") else text
