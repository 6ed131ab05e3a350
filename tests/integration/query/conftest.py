"""The search index on real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.integration.query.searching import Searched, searched_index


@pytest_asyncio.fixture(loop_scope="session")
async def searched(database_url: str) -> AsyncIterator[Searched]:
    """An empty search index."""
    async with searched_index(database_url) as index:
        yield index
