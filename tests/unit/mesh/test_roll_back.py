"""A transaction that is rolled back while its task is cancelled."""

from __future__ import annotations

import asyncio

import pytest

from mesh.postgres.connections import roll_back


class SlowConnection:
    """One whose server takes its time to roll back."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.dropped = False

    def is_closed(self) -> bool:
        return False

    def terminate(self) -> None:
        self.dropped = True

    async def rollback(self) -> None:
        self.asked.set()
        await asyncio.sleep(60)


async def test_a_task_that_is_cancelled_while_it_rolls_back_ends() -> None:
    """Else whoever waits for its end, as a server that stops, would wait for ever."""
    connection = SlowConnection()

    async def work() -> None:
        await roll_back(connection, connection, gone=False)
        await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await connection.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(5):
            await task
    assert connection.dropped
