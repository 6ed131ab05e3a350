"""Bringing the element up, step by step, and up again whenever a step fell back.

store open -> element.json proved -> this process is the writer -> tables made -> what earlier
writers left is known. Each step is tried about once a second. A standby stays before the third
and serves reads; without the store, what the tables hold is still answered.

This alone moves the element's phase, as `storage_server.element.phase` says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from mesh.errors import ArtStoreError, Unavailable
from storage_server.catalog.catalog import Catalog
from storage_server.element.identity import establish, read
from storage_server.element.moves import Moves
from storage_server.element.phase import Phase
from storage_server.element.state import Element
from storage_server.element.writer import WriterLock
from storage_server.store.port import Store

INTERVAL_SECONDS = 1.0
STOPPING = "the server is stopping"

_log = structlog.stdlib.get_logger(__name__)


class Opening:
    """Run `watch` as a background task; `advance` alone tries all steps once.

    Args:
        open_store: opens the adapter; raises Unavailable when that cannot be done now.
        adopt: see `storage_server.element.identity`.
        on_writing: called when this process has become the writer and the tables are there,
            before the first write; may raise Unavailable and is then called again.
        on_lost: called when this process is not the writer any more.
    """

    def __init__(
        self,
        element: Element,
        *,
        open_store: Callable[[], Awaitable[Store]],
        writer: WriterLock,
        catalog: Catalog,
        adopt: bool = False,
        on_writing: Callable[[], Awaitable[None]],
        on_lost: Callable[[], Awaitable[None]],
    ) -> None:
        self._element = element
        self._moves = Moves(element)
        self._open_store = open_store
        self._writer = writer
        self._catalog = catalog
        self._first_mode = element.mode
        self._adopt = adopt
        self._on_writing = on_writing
        self._on_lost = on_lost
        self._store: Store | None = None
        self._database_made = False
        self._migrated = False
        self._stopping = False
        self._told: dict[str, str] = {}

    async def watch(self) -> None:
        """Keep the element up until cancelled."""
        while True:
            await self.advance()
            await asyncio.sleep(INTERVAL_SECONDS)

    async def advance(self) -> None:
        """Try what is left to do, once; what fails is logged when it is new."""
        if self._stopping:
            return
        await self._try("falling back", self._fall_back)
        if await self._try("the store", self._open):
            await self._try("writing", self._become_writer)
        await self._try("the tables", self._ready_tables)

    async def _try(self, what: str, step: Callable[[], Awaitable[None]]) -> bool:
        try:
            await step()
        except ArtStoreError as exc:
            if self._told.get(what) != exc.message:
                self._told[what] = exc.message
                _log.warning(
                    "element not up yet",
                    element=self._element.element_id,
                    missing=what,
                    reason=exc.message,
                )
            return False
        self._told.pop(what, None)
        return True

    async def close(self) -> None:
        """Stop writing and release everything."""
        self._stopping = True
        self._moves.store_closed(STOPPING)
        await self._writer.release()
        await self._close_store()

    async def _require_going_on(self) -> None:
        """A step that was under way when the server stopped moves nothing, and holds no lock."""
        if self._stopping:
            await self._writer.release()
            raise Unavailable(STOPPING)

    async def _fall_back(self) -> None:
        element = self._element
        if element.is_writer and self._writer.lost:
            self._moves.lock_lost()
            _log.warning("no longer the writer", element=element.element_id)
            await self._on_lost()
        if self._moves.standing.has_tables and not await self._tables_present():
            self._moves.tables_gone()
            self._migrated = False
            _log.warning("the element's tables are gone", element=element.element_id)

    async def _tables_present(self) -> bool:
        # Silence says nothing about the tables.
        with suppress(Unavailable):
            return await self._catalog.is_there()
        return True

    async def _open(self) -> None:
        if self._element.phase is not Phase.CLOSED:
            return
        if self._store is None:
            try:
                self._store = await self._open_store()
            except ArtStoreError as exc:
                self._moves.store_closed(exc.message)
                raise
        try:
            await self._identify(self._store)
        except ArtStoreError as exc:
            # Opened anew next time: the lock just taken may be in a folder that a mount hides.
            await self._writer.release()
            await self._close_store()
            self._moves.store_closed(exc.message)
            raise

    async def _identify(self, store: Store) -> None:
        acquired = False
        if self._adopt or await store.read_element() is None:
            await self._make_database()
            acquired = await self._writer.acquire(store)
        if acquired:
            identity = await establish(
                store,
                element_id=self._element.element_id,
                mode=self._first_mode,
                is_known=self._catalog.is_known,
                adopt=self._adopt,
            )
            self._adopt = False
        else:
            identity = await read(store, self._element.element_id)
        await self._require_going_on()
        self._moves.store_opened(store, identity)

    async def _become_writer(self) -> None:
        element = self._element
        if element.is_writer or self._store is None:
            return
        if await self._writer.acquire(self._store):
            await self._require_going_on()
            # The last writer may have changed the mode.
            await element.prove()
            await self._require_going_on()
            self._moves.lock_taken()
            _log.info("this process writes the element", element=element.element_id)

    async def _ready_tables(self) -> None:
        element = self._element
        if element.is_writer and not self._migrated:
            await self._make_database()
            await self._catalog.open()
            self._migrated = True
            self._moves.tables_found()
        if not self._moves.standing.has_tables:
            # Whoever does not write reads what the writer made.
            if not await self._catalog.is_there():
                raise Unavailable("the element's tables are not there yet")
            await self._catalog.feed.head()
            self._moves.tables_found()
        if element.is_writer and element.phase is not Phase.WRITING:
            await self._on_writing()
            await self._require_going_on()
            self._moves.past_known()

    async def _make_database(self) -> None:
        if not self._database_made:
            await self._catalog.make_database()
            self._database_made = True

    async def _close_store(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            with suppress(Unavailable):
                await store.close()
