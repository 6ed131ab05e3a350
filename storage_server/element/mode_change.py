"""Changing the element's mode: kept in `element.json`, with time for open uploads to end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from mesh.concurrency.backoff import Backoff
from mesh.concurrency.unbroken import Unbroken
from mesh.errors import ArtStoreError, InvalidArgument
from storage_server.catalog.writes import Writes
from storage_server.domain.modes import Action, Mode, allows, check_transition
from storage_server.element.identity import ElementFile, encode
from storage_server.element.state import Element

DRAIN_SECONDS = 60
RETRY_SECONDS = 1.0
MAX_DRAIN_SECONDS = 7 * 24 * 3600

_log = structlog.stdlib.get_logger(__name__)


class ModeChange:
    """One change at a time.

    Args:
        writes: of the catalog, for the rows' TTL.
        ttl_hours: by mode.
        abort_uploads: ends every upload that is still open after the drain.
    """

    def __init__(
        self,
        element: Element,
        writes: Writes,
        *,
        ttl_hours: Callable[[Mode], int],
        abort_uploads: Callable[[], Awaitable[None]],
        unbroken: Unbroken,
    ) -> None:
        self._element = element
        self._writes = writes
        self._ttl_hours = ttl_hours
        self._abort_uploads = abort_uploads
        self._unbroken = unbroken
        self._drain: asyncio.Task[None] | None = None

    async def change(self, mode: Mode, *, confirm: bool, drain_seconds: int | None) -> None:
        """Enter `mode`; the present one is fine.

        Raises:
            FailedPrecondition: the step is not allowed, or needs `confirm`.
            InvalidArgument: drain_seconds is negative or over a week.
            Unavailable: storage is down or this process is a standby; the mode stays.
        """
        seconds = DRAIN_SECONDS if drain_seconds is None else drain_seconds
        if not 0 <= seconds <= MAX_DRAIN_SECONDS:
            raise InvalidArgument(
                f"drain_seconds is 0 to {MAX_DRAIN_SECONDS}", field="drain_seconds"
            )
        await self._unbroken.run(self._change(mode, confirm=confirm, seconds=seconds))

    async def _change(self, mode: Mode, *, confirm: bool, seconds: int) -> None:
        element = self._element
        async with element.file_turn:
            store = element.writing()
            check_transition(element.mode, mode, confirm=confirm)
            if mode is element.mode:
                return
            before = element.mode
            content = encode(ElementFile(element.element_id, element.store_id, mode, element.peers))
            await store.write_element(content)
            element.enter_mode(mode, seconds)
            _log.info("mode changed", element=element.element_id, before=before, mode=mode)
            self.follow()

    def resume(self) -> None:
        """This process has just become the writer. Uploads that are open although the mode takes
        no new ones were being drained when the last writer ended; they get that time anew.
        """
        mode = self._element.mode
        if not allows(mode, Action.CREATE) and not self._element.drain_seconds_left:
            self._element.enter_mode(mode, DRAIN_SECONDS)
        self.follow()

    def follow(self) -> None:
        """Do what the present mode asks for: renew the rows' TTL, end uploads after the drain."""
        self._unbroken.begin(self._set_ttl())
        if self._drain is not None:
            self._drain.cancel()
            self._drain = None
        if not allows(self._element.mode, Action.CREATE):
            self._drain = asyncio.create_task(self._abort_after_drain())

    def stop(self) -> None:
        """The server stops."""
        if self._drain is not None:
            self._drain.cancel()

    async def _set_ttl(self) -> None:
        await self._writes.set_cache_ttl(self._ttl_hours(self._element.mode))

    async def _abort_after_drain(self) -> None:
        await asyncio.sleep(self._element.drain_seconds_left)
        backoff = Backoff(RETRY_SECONDS)
        while not allows(self._element.mode, Action.CREATE):
            try:
                await self._abort_uploads()
                return
            except ArtStoreError as exc:
                _log.warning("open uploads not ended yet", reason=exc.message)
                await backoff.pause()
