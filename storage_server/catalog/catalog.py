"""The catalog of one element: all that its tables offer, wired once."""

from __future__ import annotations

from mesh.postgres.database import Database
from storage_server.catalog.bell import Bell
from storage_server.catalog.counters import Counters
from storage_server.catalog.feed import Feed
from storage_server.catalog.fences import Fences
from storage_server.catalog.merge import Merge
from storage_server.catalog.open import Opened, open_tables
from storage_server.catalog.pending import Pending
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
        self.writes = Writes(database, tables, self.fences, self.bell)
        self.pending = Pending(database, tables)
        self.uploads = Uploads(database, tables)
        self.feed = Feed(database, tables)
        self.summaries = Summaries(database, tables)
        self.merge = Merge(database, tables, self.fences, self.bell)
        self.counters = Counters(database, tables, self.fences)

    @property
    def available(self) -> bool:
        """Whether the database answered when it was last asked."""
        return self.database.available

    async def open(self) -> Opened:
        """Make sure that the tables are there; see `open_tables`."""
        return await open_tables(self.database, self.tables)
