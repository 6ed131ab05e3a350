"""Keeping the feed's history long enough, and no longer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import structlog

from mesh.elements.feed_cursor import FeedCursor
from storage_server.catalog.feed import Feed
from storage_server.element.phase import Phase
from storage_server.element.state import Element

log = structlog.get_logger("storage_server.feed")

INTERVAL_SECONDS = 60.0


async def trim(
    element: Element,
    feed: Feed,
    keep: int,
    *,
    audited: Callable[[], FeedCursor],
    wait: timedelta,
) -> None:
    """Drop all entries but the last `keep`; whoever is further behind reads a snapshot.

    Args:
        audited: answers how far the audit is, as admin said last; an empty cursor before that.
        wait: so long the audit is waited for.
    """
    if element.phase is not Phase.WRITING:
        return
    dropped = await feed.trim(keep, audited=audited(), wait=wait)
    if dropped:
        log.info("feed trimmed", element=element.element_id, dropped=dropped, kept=keep)
