"""Ending upload streams that have fallen silent; what they sent stays."""

from __future__ import annotations

import asyncio

from storage_server.uploads.element_uploads import ElementUploads
from storage_server.writing.replay import INTERVAL_SECONDS


async def end_silent_streams(uploads: ElementUploads, idle_seconds: float) -> None:
    """End streams that nothing has come on for `idle_seconds`, until cancelled."""
    while True:
        await asyncio.sleep(min(INTERVAL_SECONDS, idle_seconds / 4))
        uploads.interrupt_idle(idle_seconds)
