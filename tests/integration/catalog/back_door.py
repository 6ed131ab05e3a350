"""Tests that run on PostgreSQL and in memory, and what they do behind the catalog's back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.integration.catalog.files import AnyCatalog, now
from tests.support.memory_catalog import MemoryCatalog

POSTGRESQL, MEMORY = "postgresql", "memory"

on_both = pytest.mark.parametrize("catalog", [POSTGRESQL, MEMORY], indirect=True)


async def clean(catalog: AnyCatalog) -> None:
    """Remove all rows."""
    if isinstance(catalog, MemoryCatalog):
        catalog.tables.files.clear()
        return
    await catalog.database.execute(f"DELETE FROM {catalog.tables.files}")


async def damage(catalog: AnyCatalog) -> None:
    """Change a column of all rows."""
    if isinstance(catalog, MemoryCatalog):
        for file_id, row in catalog.tables.files.items():
            damaged = replace(row.sidecar, description="damaged")
            catalog.tables.files[file_id] = replace(row, sidecar=damaged)
        return
    await catalog.database.execute(f"UPDATE {catalog.tables.files} SET description = 'damaged'")


async def age(catalog: AnyCatalog, file_id: str, hours: int) -> None:
    """Say of a row that it was last verified so long ago."""
    if isinstance(catalog, MemoryCatalog):
        row = catalog.tables.files[file_id]
        verified = now() - timedelta(hours=hours)
        catalog.tables.files[file_id] = replace(row, cache_updated_at=verified)
        return
    await catalog.database.execute(
        f"UPDATE {catalog.tables.files}"
        " SET cache_updated_at = now() - $2::integer * interval '1 hour' WHERE file_id = $1",
        file_id,
        hours,
    )
