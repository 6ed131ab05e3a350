"""Bringing the element up, step by step, and up again whenever a step fell back.

store open -> element.json proved -> this process is the writer -> tables made -> what earlier
writers left is known. Each step is tried about once a second. A standby stays before the third
and serves reads; without the store, what the tables hold is still answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from mesh.errors import ArtStoreError, Unavailable
from mesh.postgres.database import create_database_if_missing, database_name
from storage_server.catalog.catalog import Catalog
from storage_server.catalog.open import tables_present
from storage_server.domain.modes import Mode
from storage_server.element.identity import establish, read
from storage_server.element.state import Element
from storage_server.element.writer import WriterLock
from storage_server.store.port import Store

INTERVAL_SECONDS = 1.0

_log = structlog.stdlib.get_logger(__name__)


class Opening:
    """Run `watch` as a background task; `advance` alone tries all steps once.

    Args:
        open_store: opens the adapter; raises Unavailable when that cannot be done now.
        first_mode: mode of an element that is new.
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
        first_mode: Mode,
        adopt: bool = False,
        on_writing: Callable[[], Awaitable[None]],
        on_lost: Callable[[], Awaitable[None]],
    ) -> None:
        self._element = element
        self._open_store = open_store
        self._writer = writer
        self._catalog = catalog
        self._first_mode = first_mode
        self._adopt = adopt
        self._on_writing = on_writing
        self._on_lost = on_lost
        self._store: Store | None = None
        self._database_made = False
        self._migrated = False
        self._told: dict[str, str] = {}

    async def watch(self) -> None:
        """Keep the element up until cancelled."""
        while True:
            await self.advance()
            await asyncio.sleep(INTERVAL_SECONDS)

    async def advance(self) -> None:
        """Try what is left to do, once; what fails is logged when it is new."""
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
        self._element.closed("the server is stopping")
        await self._writer.release()
        await self._close_store()

    async def _fall_back(self) -> None:
        element = self._element
        if element.is_writer and self._writer.lost:
            element.is_writer = element.writing_ready = False
            element.changed.ring()
            _log.warning("no longer the writer", element=element.element_id)
            await self._on_lost()
        if element.tables_ready and not await self._tables_present():
            element.tables_ready = element.writing_ready = self._migrated = False
            _log.warning("the element's tables are gone", element=element.element_id)

    async def _tables_present(self) -> bool:
        tables = self._catalog.tables
        # Silence says nothing about the tables.
        with suppress(Unavailable):
            return bool(
                await self._catalog.database.fetchval(
                    "SELECT bool_and(to_regclass(name) IS NOT NULL) FROM unnest($1::text[]) name",
                    [*tables.all(), tables.fence_sequence],
                )
            )
        return True

    async def _open(self) -> None:
        element = self._element
        if self._store is not None and element.store_id:
            return
        if self._store is None:
            try:
                self._store = await self._open_store()
            except ArtStoreError as exc:
                element.fail(exc.message)
                raise
        try:
            await self._identify(self._store)
        except ArtStoreError as exc:
            # Opened anew next time: the lock just taken may be in a folder that a mount hides.
            await self._writer.release()
            await self._close_store()
            element.closed(exc.message)
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
                is_known=self._is_known,
                adopt=self._adopt,
            )
            self._adopt = False
        else:
            identity = await read(store, self._element.element_id)
        self._element.opened(store, identity)

    async def _is_known(self) -> bool:
        tables, database = self._catalog.tables, self._catalog.database
        for name in (*tables.all(), f"public.{tables.version}"):
            if await database.fetchval("SELECT to_regclass($1::text) IS NOT NULL", name):
                return True
        return False

    async def _become_writer(self) -> None:
        element = self._element
        if element.is_writer or self._store is None:
            return
        if await self._writer.acquire(self._store):
            # The last writer may have changed the mode.
            await element.prove()
            element.is_writer = True
            element.changed.ring()
            _log.info("this process writes the element", element=element.element_id)

    async def _ready_tables(self) -> None:
        element = self._element
        if element.is_writer and not (element.tables_ready and self._migrated):
            await self._make_database()
            opened = await self._catalog.open()
            element.epoch = opened.epoch
            element.tables_ready = self._migrated = True
        if not element.tables_ready:
            # Whoever does not write reads what the writer made.
            if not await tables_present(self._catalog.database, self._catalog.tables):
                raise Unavailable("the element's tables are not there yet")
            element.epoch = (await self._catalog.feed.head()).epoch
            element.tables_ready = True
        if element.is_writer and not element.writing_ready:
            await self._on_writing()
            element.writing_ready = True
            element.changed.ring()

    async def _make_database(self) -> None:
        if not self._database_made:
            url = self._catalog.database.url
            await create_database_if_missing(url, database_name(url))
            self._database_made = True

    async def _close_store(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            with suppress(Unavailable):
                await store.close()
