"""Keeping the feed's history long enough, and no longer."""

from __future__ import annotations

import structlog

from storage_server.catalog.feed import Feed
from storage_server.element.phase import Phase
from storage_server.element.state import Element

log = structlog.get_logger("storage_server.feed")

INTERVAL_SECONDS = 60.0


async def trim(element: Element, feed: Feed, keep: int) -> None:
    """Drop all entries but the last `keep`; whoever is further behind reads a snapshot."""
    if element.phase is not Phase.WRITING:
        return
    dropped = await feed.trim(keep)
    if dropped:
        log.info("feed trimmed", element=element.element_id, dropped=dropped, kept=keep)
