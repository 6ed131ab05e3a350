"""Work in the background that goes on while the database is down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from mesh.concurrency.background import Background
from mesh.concurrency.backoff import Backoff
from mesh.errors import Unavailable

PREPARE_RETRY_SECONDS = 1.0
# A database that answers is prepared before the port opens; one that does not, behind it.
PREPARE_FIRST_SECONDS = 10.0

_log = structlog.stdlib.get_logger(__name__)


async def prepare_in(background: Background, prepare: Callable[[], Awaitable[None]]) -> None:
    """Prepare in the background until it is done; wait for the outcome of the first try."""
    tried = asyncio.Event()

    async def until_done() -> None:
        backoff = Backoff(PREPARE_RETRY_SECONDS)
        while True:
            try:
                await prepare()
                return
            except Unavailable as exc:
                if not tried.is_set():
                    _log.warning("started without the database", reason=exc.message)
            finally:
                tried.set()
            await backoff.pause()

    background.start("prepare database", until_done)
    with suppress(TimeoutError):
        async with asyncio.timeout(PREPARE_FIRST_SECONDS):
            await tried.wait()


async def repeat(work: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Do it again and again. The database says itself when it goes and when it is back, which
    `Background.every` would repeat at each failure.
    """
    while True:
        with suppress(Unavailable):
            await work()
        await asyncio.sleep(seconds)
