"""An element's tables, past its server."""

from __future__ import annotations

from typing import Any

import asyncpg

from tests.support.storage_rig import Node

FILES = "storage_elem_01_files"
EXPIRE = f"UPDATE {FILES} SET cache_updated_at = now() - interval '48 h'"


async def sql(node: Node, statement: str) -> Any:
    connection = await asyncpg.connect(node.rig.values["database_url"])
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()
