"""Looking at how tasks end: Python tells of an error that nobody fetches late and out of place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog
from structlog.stdlib import BoundLogger

from mesh.errors import ArtStoreError

# Longer than what is left to do for whoever is cancelled.
AGAIN_SECONDS = 10.0

_log = structlog.stdlib.get_logger(__name__)


def seen(task: asyncio.Future[Any]) -> BaseException | None:
    """Its error; None when it has none or was cancelled. It counts as fetched from now on.

    A done callback for tasks whose callers may leave: those who stay meet the error.
    """
    return None if task.cancelled() else task.exception()


def tell(log: BoundLogger, event: str, error: BaseException, **fields: object) -> None:
    """Log why work failed: what was foreseen in a line, a bug in full."""
    if isinstance(error, ArtStoreError):
        log.warning(event, reason=error.message, **fields)
    else:
        log.error(event, exc_info=error, **fields)


def telling(
    log: BoundLogger, event: str, **fields: object
) -> Callable[[asyncio.Future[Any]], None]:
    """A done callback for tasks that nobody waits for: it `tell`s their errors."""

    def look(task: asyncio.Future[Any]) -> None:
        error = seen(task)
        if error is not None:
            tell(log, event, error, **fields)

    return look


async def cancel_and_wait(*tasks: asyncio.Future[Any] | None) -> None:
    """Cancel them and wait until they have ended, however they do; None is none.

    One that goes on has lost the word, as where any error is taken for one of its own: it is told
    again and again, else a server would never end.
    """
    left = [task for task in tasks if task is not None]
    for task in left:
        task.cancel()
    while left:
        _, deaf = await asyncio.wait(left, timeout=AGAIN_SECONDS)
        left = list(deaf)
        for task in left:
            _log.warning("a cancelled task goes on: it is cancelled again", task=repr(task))
            task.cancel()
