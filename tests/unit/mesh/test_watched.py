"""How tasks end is looked at once, and told by what kind of error it was."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
import structlog
import structlog.testing

from mesh.concurrency import watched
from mesh.concurrency.unbroken import Unbroken
from mesh.concurrency.watched import cancel_and_wait, seen, telling
from mesh.errors import Unavailable


async def fail(error: Exception) -> None:
    raise error


async def test_an_error_that_was_seen_is_not_called_unfetched() -> None:
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
    task = asyncio.create_task(fail(RuntimeError("bug")))
    task.add_done_callback(seen)
    await asyncio.wait({task})
    del task
    gc.collect()
    assert complaints == []


async def test_what_was_cancelled_or_went_well_has_no_error() -> None:
    well = asyncio.create_task(asyncio.sleep(0))
    cancelled = asyncio.create_task(asyncio.sleep(60))
    await cancel_and_wait(well, cancelled, None)
    assert (seen(well), seen(cancelled)) == (None, None)


async def test_a_bug_is_told_in_full_and_what_was_foreseen_in_a_line() -> None:
    with structlog.testing.capture_logs() as lines:
        log = structlog.stdlib.get_logger("test")
        for error in (Unavailable("down"), RuntimeError("bug")):
            task = asyncio.create_task(fail(error))
            task.add_done_callback(telling(log, "failed", task="mine"))
            await asyncio.wait({task})
            await asyncio.sleep(0)
    foreseen, bug = lines
    assert (foreseen["log_level"], foreseen["reason"], foreseen["task"]) == (
        "warning",
        "down",
        "mine",
    )
    assert (bug["log_level"], str(bug["exc_info"])) == ("error", "bug")


async def test_cancelling_waits_for_the_end_whatever_it_is() -> None:
    ended = []

    async def stubborn() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            ended.append(True)
            raise RuntimeError("at the end")

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await cancel_and_wait(task)
    assert ended == [True]


async def test_unbroken_work_goes_on_when_its_caller_leaves() -> None:
    unbroken, done, free = Unbroken(), [], asyncio.Event()

    async def work() -> None:
        await free.wait()
        done.append(True)

    caller = asyncio.create_task(unbroken.run(work()))
    await asyncio.sleep(0)
    await cancel_and_wait(caller)
    free.set()
    await unbroken.wait(2)
    assert done == [True]


async def test_a_task_that_loses_the_word_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "AGAIN_SECONDS", 0.01)
    lost = 0

    async def deaf() -> None:
        nonlocal lost
        while lost < 3:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                lost += 1
        await asyncio.sleep(60)

    task = asyncio.create_task(deaf(), name="deaf")
    await asyncio.sleep(0)
    with structlog.testing.capture_logs() as lines:
        async with asyncio.timeout(5):
            await cancel_and_wait(task)
    assert task.cancelled()
    assert len(lines) == lost == 3 and "deaf" in lines[0]["task"]
