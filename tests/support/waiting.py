"""Waiting for what nothing announces."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any

import grpc


async def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait until `condition`, which may be a coroutine, answers something true.

    Raises:
        TimeoutError: it did not within `seconds`.
    """
    async with asyncio.timeout(seconds):
        while True:
            holds = condition()
            if await holds if isawaitable(holds) else holds:
                return
            await asyncio.sleep(0.01)


async def until_answered(
    condition: Callable[[], Awaitable[object]], seconds: float, what: str, *, pause: float = 0.05
) -> None:
    """Poll a server until `condition` answers something true; errors of calls count as false.

    Raises:
        TimeoutError: it did not within `seconds`.
    """
    deadline = time.monotonic() + seconds
    last: object = None
    while True:
        try:
            last = await condition()
            if last:
                return
        except grpc.aio.AioRpcError as error:
            last = f"{error.code().name}: {error.details()}"
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s in vain: {what} (last: {last})")
        await asyncio.sleep(pause)


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Hold up everything until `condition` holds: for tests that do not run in an event loop.

    Raises:
        TimeoutError: it did not within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s in vain: {what}")
        time.sleep(0.02)
