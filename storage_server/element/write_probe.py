"""Proof that the store takes writes: a small file, written now and then.

A file system that was remounted read-only, a quota, a changed owner or bucket policy show only
when something is written. Until the next proof nothing new is sent here; reads go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog

from mesh.errors import ArtStoreError
from storage_server.element.state import Element

# How often it is tried again while the store takes none.
AGAIN_SECONDS = 1.0

_log = structlog.stdlib.get_logger(__name__)


class WriteProbe:
    """Run `watch` as a background task; `prove` alone tries once.

    Args:
        interval_seconds: between two proofs while all is well.
        on_recovered: called when the store takes writes again.
    """

    def __init__(
        self, element: Element, *, interval_seconds: float, on_recovered: Callable[[], None]
    ) -> None:
        self._element = element
        self._interval_seconds = interval_seconds
        self._on_recovered = on_recovered

    async def watch(self) -> None:
        """Try at every interval, and at once after a write that failed, until cancelled."""
        while True:
            await self.prove()
            well = self._element.is_writer and self._element.write_error is None
            seconds = self._interval_seconds
            if well:
                await self._trouble(seconds)
            else:
                await asyncio.sleep(min(seconds, AGAIN_SECONDS))

    async def prove(self) -> None:
        """Write now, and note in the element what came of it. Never raises.

        A standby does not write, and a store that is down is known to be.
        """
        element = self._element
        if not element.is_writer or not element.storage_ok:
            return
        before = element.write_error
        try:
            store = element.reading()
            store.write_trouble.clear()
            await store.try_write()
        except ArtStoreError as exc:
            if not element.storage_ok:
                return
            if before is None or before.message != exc.message:
                _log.warning(
                    "the store takes no writes", element=element.element_id, reason=exc.message
                )
            element.note_write(exc)
            return
        element.note_write(None)
        if before is not None:
            _log.info("the store takes writes again", element=element.element_id)
            self._on_recovered()

    async def _trouble(self, seconds: float) -> None:
        """Wait for a write that failed, at most so long."""
        if not self._element.storage_ok:
            await asyncio.sleep(min(seconds, AGAIN_SECONDS))
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._element.reading().write_trouble.wait()
