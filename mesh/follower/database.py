"""The database of a replica table, whose tables may be dropped at any time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from mesh.errors import Unavailable
from mesh.postgres.database import Database

_BEING_MADE = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedFunctionError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedObjectError,
)


class ReplicaDatabase(Database):
    """A `Database` that takes missing tables for an outage: they are made again."""

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        """See `Database.connection`."""
        try:
            async with super().connection() as connection:
                yield connection
        except _BEING_MADE as exc:
            raise Unavailable(f"the tables of {self.name} are being made anew") from exc
