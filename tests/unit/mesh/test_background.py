"""Background tasks live until they are stopped, whatever happens to them."""

from __future__ import annotations

import asyncio

import pytest

from mesh.concurrency.background import Background
from mesh.errors import Unavailable


async def test_a_crashed_task_is_started_again() -> None:
    runs = 0
    done = asyncio.Event()

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise RuntimeError("bug")
        if runs == 2:
            raise Unavailable("down")
        done.set()

    async with Background() as background:
        background.start("work", work, backoff_seconds=0.01)
        await asyncio.wait_for(done.wait(), 2)
    assert runs == 3


async def test_leaving_cancels_and_waits() -> None:
    ended = []
    running = asyncio.Event()

    async def work() -> None:
        try:
            running.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    async with Background() as background:
        background.start("work", work)
        await running.wait()
    assert ended == [True]


async def test_repeated_work_goes_on_after_a_failure() -> None:
    runs = 0
    enough = asyncio.Event()

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs == 3:
            enough.set()
        raise RuntimeError("each time")

    async with Background() as background:
        background.every("work", 0.01, work)
        await asyncio.wait_for(enough.wait(), 2)


async def test_a_name_runs_once() -> None:
    async with Background() as background:
        background.start("work", asyncio.Event().wait)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="work"):
            background.start("work", asyncio.Event().wait)  # type: ignore[arg-type]


async def test_a_single_run_that_fails_harms_nobody() -> None:
    async def fail() -> None:
        raise RuntimeError("alone")

    async with Background() as background:
        await background.once("work", fail())
