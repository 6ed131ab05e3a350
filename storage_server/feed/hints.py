"""Telling the mesh by Valkey that the feed has moved: followers that wait try again at once."""

from __future__ import annotations

import asyncio
from typing import Any

from mesh.concurrency.backoff import Backoff
from mesh.concurrency.bell import Bell
from mesh.elements.discovery import CHANGES_CHANNEL
from mesh.errors import Unavailable
from mesh.redis import translated

# A burst of changes becomes one hint.
DEBOUNCE_SECONDS = 0.1
RETRY_SECONDS = 1.0


async def publish_hints(redis: Any, bell: Bell, element_id: str) -> None:
    """Publish `element_id` after each change of this process, until cancelled.

    A hint that is lost costs nothing but time: followers read the feed, never the hints.
    """
    changes, backoff = bell.listen(), Backoff(RETRY_SECONDS)
    while True:
        await changes.wait()
        changes.take()
        try:
            with translated("a hint of changes"):
                await redis.publish(CHANGES_CHANNEL, element_id)
        except Unavailable:
            await backoff.pause()
        await asyncio.sleep(DEBOUNCE_SECONDS)
