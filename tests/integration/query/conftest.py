"""The search index on real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.integration.query.searching import Searched, searched_index
from tests.support import templates


@pytest_asyncio.fixture(loop_scope="session")
async def searched(database_url: str) -> AsyncIterator[Searched]:
    """An empty search index."""
    await templates.index_tables(database_url)
    async with searched_index(f"{database_url}_query") as index:
        yield index
