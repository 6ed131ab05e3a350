"""Waiting for statements that take long, for as long as the server gives signs of life.

What is long depends on the machine and on who else works on it; a deadline of its own would decide
how a long piece of work ends. A server that is gone or silent is noticed as soon as by any other
call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import structlog

from mesh.errors import Unavailable
from mesh.postgres.connections import cut

MOST_SECONDS = 600.0
MISSES = 2

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def patience(
    connection: Any, sign_of_life: Callable[[], Awaitable[object]], seconds: float
) -> AsyncIterator[None]:
    """Statements of the block end by themselves, or because the connection is cut.

    Args:
        connection: a pooled one, whose own deadline does not count in the block.
        sign_of_life: asks the server for one, elsewhere; Unavailable if none comes.
        seconds: between signs.
    """
    watching = asyncio.create_task(_cut_when_silent(connection, sign_of_life, seconds))
    try:
        with connection.deadline(MOST_SECONDS):
            yield
    finally:
        watching.cancel()
        await asyncio.wait({watching})


async def _cut_when_silent(
    connection: Any, sign_of_life: Callable[[], Awaitable[object]], seconds: float
) -> None:
    missed = 0
    while missed < MISSES:
        await asyncio.sleep(seconds)
        try:
            await sign_of_life()
            missed = 0
        except Unavailable:
            missed += 1
    _log.warning("no sign of life", seconds=seconds, missed=missed)
    cut(connection)
