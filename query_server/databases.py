"""The two pools of connections to the index's database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from mesh.errors import TablesMissing
from mesh.postgres.database import Database
from mesh.postgres.failures import EVERYTHING
from query_server.search import session

# Searches in flight at once.
SEARCH_CONNECTIONS = 12
# Apart from those, so that no burst of searches holds the followers up.
FOLLOWER_CONNECTIONS = 8


def followed_database(url: str) -> Database:
    """What followers write, and whatever is no search reads."""
    return Database(
        url,
        max_size=FOLLOWER_CONNECTIONS,
        application_name="artstore query",
        droppable=[EVERYTHING],
    )


class SearchedDatabase(Database):
    """What searches read. Until `ready` there may be tables of an earlier version, or none: calls
    answer `TablesMissing`.
    """

    def __init__(self, url: str, ready: asyncio.Event) -> None:
        super().__init__(
            url,
            max_size=SEARCH_CONNECTIONS,
            application_name="artstore query search",
            droppable=[EVERYTHING],
            settings=session.SETTINGS,
        )
        self._ready = ready

    @asynccontextmanager
    async def connection(self, *, patient: bool = False) -> AsyncIterator[asyncpg.Connection[Any]]:
        """As in `Database`, once the tables are there."""
        async with super().connection(patient=patient) as connection:
            self.require_ready()
            yield connection

    def require_ready(self) -> None:
        """Make sure that there is something to search.

        Raises:
            TablesMissing: there is not, yet.
        """
        if not self._ready.is_set():
            raise TablesMissing(
                "the index is being made or brought up to date: ask again in a moment"
            )


def searched_database(url: str, ready: asyncio.Event | None = None) -> SearchedDatabase:
    """A pool for searches; `ready` is that of the index's tables, None where they are there."""
    if ready is None:
        ready = asyncio.Event()
        ready.set()
    return SearchedDatabase(url, ready)
