"""Logs of what the launcher runs, kept short while it runs.

What a program prints goes to a file that it holds open, and most programs cannot be told to open
another one: as logrotate's `copytruncate` does it, a log that has grown too long is copied and
begins anew. Programs append, so that their next line is the first one.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

from mesh.concurrency.watched import seen

LIMIT_BYTES = 16 * 2**20
LOOK_SECONDS = 2.0
_COPY_BYTES = 2**20


def shorten(log: Path, limit_bytes: int = LIMIT_BYTES) -> bool:
    """Put what an overgrown log holds aside, as `.1`; whether it was one.

    Raises:
        OSError: it cannot be done.
    """
    try:
        if log.stat().st_size <= limit_bytes:
            return False
    except FileNotFoundError:
        return False
    aside = log.with_name(f"{log.name}.1")
    # Whatever stands there is not followed.
    aside.unlink(missing_ok=True)
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as copy, log.open("rb") as source:
        while part := source.read(_COPY_BYTES):
            copy.write(part)
        copy.flush()
        # What is written in the meantime, mostly nothing, is lost.
        os.truncate(log, 0)
    return True


async def keep_short(folder: Path) -> None:
    """Shorten every log in the folder whenever it is due, until cancelled."""
    while True:
        await asyncio.to_thread(_shorten_all, folder)
        await asyncio.sleep(LOOK_SECONDS)


def start_keeping_short(folder: Path) -> asyncio.Task[None]:
    """`keep_short` as a task."""
    task = asyncio.create_task(keep_short(folder), name="logs")
    task.add_done_callback(seen)
    return task


def _shorten_all(folder: Path) -> None:
    for log in folder.glob("*.log"):
        # On a disk that is full there may be room the next time.
        with suppress(OSError):
            shorten(log)
