"""The watchdog of streams."""

from __future__ import annotations

import asyncio

import pytest

from artstore_client import DeadlineExceeded
from artstore_client.calls.watchdog import IdleWatchdog


async def test_silence_cancels_and_is_told_as_what_it_is() -> None:
    cancelled = asyncio.Event()
    watchdog = IdleWatchdog(cancelled.set, 0.05)
    await asyncio.wait_for(cancelled.wait(), 2)
    with pytest.raises(DeadlineExceeded, match=r"WriteUpload on se-01: nothing moved for 0.05 s"):
        watchdog.raise_if_fired("WriteUpload on se-01")


async def test_movement_and_the_callers_own_pauses_are_no_silence() -> None:
    cancelled = asyncio.Event()
    watchdog = IdleWatchdog(cancelled.set, 0.2)
    for _ in range(5):
        await asyncio.sleep(0.08)
        watchdog.touch()
    watchdog.pause()
    await asyncio.sleep(0.5)
    assert not cancelled.is_set()
    watchdog.raise_if_fired("x")
    watchdog.touch()
    await asyncio.wait_for(cancelled.wait(), 2)


async def test_longer_silence_can_be_allowed_for_the_end() -> None:
    cancelled = asyncio.Event()
    watchdog = IdleWatchdog(cancelled.set, 0.05)
    watchdog.allow(30)
    await asyncio.sleep(0.2)
    assert not cancelled.is_set()
    watchdog.close()
