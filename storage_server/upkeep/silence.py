"""What comes of uploads that have fallen silent; what they sent stays."""

from __future__ import annotations

import asyncio
import time

import structlog

from mesh.errors import ArtStoreError
from storage_server.element.clock import Clock
from storage_server.element.phase import Phase
from storage_server.element.state import Element
from storage_server.uploads.element_uploads import ElementUploads

# Looked at so often; a stage on which nothing came for so long lets go of its descriptor.
REST_SECONDS = 2.0
# All uploads are looked through for what lapses, by PostgreSQL, at least so often.
LAPSE_SECONDS = 15.0

_log = structlog.stdlib.get_logger(__name__)


class Silence:
    """Run `watch` as a background task.

    Args:
        idle_seconds: a stream is ended when nothing came on it for so long.
        lapse_seconds: an upload gives its room back when no byte came for so long; only how often
            that is looked at follows from it here.
    """

    def __init__(
        self,
        element: Element,
        clock: Clock,
        uploads: ElementUploads,
        *,
        idle_seconds: float,
        lapse_seconds: float,
    ) -> None:
        self._element = element
        self._clock = clock
        self._uploads = uploads
        self._idle_seconds = idle_seconds
        self._interval = min(REST_SECONDS, idle_seconds / 4, lapse_seconds / 4)
        self._lapse_interval = min(LAPSE_SECONDS, lapse_seconds / 4)

    async def watch(self) -> None:
        """End streams that are silent, and free what they hold, until cancelled."""
        lapse_at = time.monotonic()
        while True:
            await asyncio.sleep(self._interval)
            self._uploads.interrupt_idle(self._idle_seconds)
            self._uploads.rest_idle(REST_SECONDS)
            # By a clock that is wrong anything may look old enough.
            writes = self._element.phase is Phase.WRITING and not self._clock.doubt()
            if writes and time.monotonic() >= lapse_at:
                lapse_at = time.monotonic() + self._lapse_interval
                await self._lapse()

    async def _lapse(self) -> None:
        try:
            await self._uploads.keeping.lapse_empty()
        except ArtStoreError as exc:
            _log.info("left for later", work="lapse", reason=exc.message)
