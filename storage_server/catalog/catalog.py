"""The catalog of one element: all that its tables offer, wired once."""

from __future__ import annotations

from mesh.concurrency.bell import Bell
from mesh.postgres.creation import create_database_if_missing
from mesh.postgres.database import Database
from mesh.postgres.urls import database_name
from storage_server.catalog.counters import Counters
from storage_server.catalog.epoch import Epoch
from storage_server.catalog.feed import Feed
from storage_server.catalog.fences import Fences
from storage_server.catalog.merge import Merge
from storage_server.catalog.open import (
    OpenedTables,
    element_is_known,
    open_tables,
    tables_present,
    tables_still_present,
)
from storage_server.catalog.pending import Pending
from storage_server.catalog.pulls import Pulls
from storage_server.catalog.reads import Reads
from storage_server.catalog.summaries import Summaries
from storage_server.catalog.tables import Tables
from storage_server.catalog.uploads import Uploads
from storage_server.catalog.writes import Writes


class Catalog:
    """One object per element and process; nothing happens before the first call.

    Args:
        database: of the element; the catalog does not close it.
        tables: the element's names.
    """

    def __init__(self, database: Database, tables: Tables) -> None:
        self.database = database
        self.tables = tables
        self.reads = Reads(database, tables)
        self.bell = Bell()
        self.fences = Fences(database, tables)
        self._epoch = Epoch()
        self._were_there = False
        self.writes = Writes(database, tables, self.fences, self.bell, self._epoch)
        self.pending = Pending(database, tables)
        self.uploads = Uploads(database, tables)
        self.pulls = Pulls(database, tables)
        self.feed = Feed(database, tables, self._epoch)
        self.summaries = Summaries(database, tables)
        self.merge = Merge(database, tables, self.fences, self.bell)
        self.counters = Counters(database, tables, self.fences)

    @property
    def epoch(self) -> str:
        """Of the change feed, as seen last; empty until the tables were seen."""
        return self._epoch.value

    @property
    def available(self) -> bool:
        """Whether the database answered when it was last asked."""
        return self.database.available

    async def open(self) -> OpenedTables:
        """Make sure that the tables are there; see `open_tables`."""
        opened = await open_tables(self.database, self.tables)
        self._epoch.value = opened.epoch
        return opened

    async def make_database(self) -> None:
        """Make the database that the tables are in, if it is missing."""
        url = self.database.url
        await create_database_if_missing(url, database_name(url))

    async def is_there(self) -> bool:
        """Whether all tables are there now. They are made by `open` alone."""
        look = tables_still_present if self._were_there else tables_present
        self._were_there = await look(self.database, self.tables)
        return self._were_there

    async def is_known(self) -> bool:
        """Whether the database has any of the tables, or knows that it had them."""
        return await element_is_known(self.database, self.tables)
