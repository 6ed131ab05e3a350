"""How each transaction of a repair begins."""

from __future__ import annotations

from typing import Any

import asyncpg

from storage_server.catalog.fences import Fence, Fences
from storage_server.catalog.tables import Tables


async def begin_guarded(
    connection: asyncpg.Connection[Any], tables: Tables, fences: Fences, fence: Fence
) -> None:
    """Take the fence, then `feed_head`; what the caller computes next sees every write so far.

    Raises:
        Aborted: somebody with a higher fence has taken over (reason PREEMPTED).
    """
    # A batch that a crash of PostgreSQL loses is found again: the recount that ends a repair
    # is durable, and all before it with it. Rows are looked up by index, however many the
    # planner believes there are: a scan for each batch would be quadratic.
    await connection.execute("SET LOCAL synchronous_commit = off; SET LOCAL random_page_cost = 1")
    await fences.require(connection, fence)
    await connection.fetchval(f"SELECT seq FROM {tables.feed_head} FOR UPDATE")
