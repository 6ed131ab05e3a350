"""Reading on before a status goes out.

A status that goes out while the client is sending may reach it as INTERNAL (grpc#36066). So what
it still sends is dropped until it ends or is silent, but not for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio

from mesh.errors import ArtStoreError


async def drain(
    read: Callable[[], Awaitable[Any]],
    *,
    seconds: float,
    silence_seconds: float,
    most_bytes: int | None = None,
) -> None:
    """Drop what a request stream still has. Never raises but for a cancelled caller.

    Args:
        read: the context's; messages may be left serialized.
        seconds: at most so long.
        silence_seconds: a client that sends nothing for so long is waiting for the status.
        most_bytes: at most so many; unbounded if None.
    """
    left = most_bytes
    try:
        async with asyncio.timeout(seconds):
            while left is None or left > 0:
                async with asyncio.timeout(silence_seconds):
                    message = await read()
                if message is grpc.aio.EOF:
                    return
                if left is not None:
                    left -= len(message) if isinstance(message, bytes) else message.ByteSize()
    except (TimeoutError, grpc.aio.BaseError, ArtStoreError):
        # It is silent, had its share, or nothing more can be read: the status goes out now.
        return
