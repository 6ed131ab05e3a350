"""A process that has grown gives back what it has freed; one that has not is left alone."""

from __future__ import annotations

import asyncio
import threading

import pytest

from mesh.concurrency.watched import cancel_and_wait
from mesh.server import freed_memory


class Process:
    """A process of a size that the test says, and how often its memory was trimmed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.size = 100 * freed_memory.WORTH_BYTES
        self.looked = asyncio.Event()
        self.trimmed = threading.Semaphore(0)
        self._loop = asyncio.get_running_loop()
        monkeypatch.setattr(freed_memory, "_resident_bytes", self._look)

    def _look(self) -> int:
        self.looked.set()
        return self.size

    def trim(self) -> None:
        self.trimmed.release()
        self._loop.call_soon_threadsafe(self.looked.set)

    async def looked_at(self, times: int) -> None:
        for _ in range(times):
            self.looked.clear()
            await asyncio.wait_for(self.looked.wait(), 10)


async def test_memory_is_given_back_only_while_more_is_held_than_at_the_least(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process = Process(monkeypatch)
    task = asyncio.create_task(
        freed_memory.give_back_freed_memory(process.trim, look_seconds=0.001)
    )
    await process.looked_at(5)
    assert not process.trimmed.acquire(blocking=False)
    process.size += 2 * freed_memory.WORTH_BYTES
    assert await asyncio.to_thread(process.trimmed.acquire, timeout=10)
    # What was still in use then is looked at again.
    assert await asyncio.to_thread(process.trimmed.acquire, timeout=10)
    await cancel_and_wait(task)


async def test_the_c_librarys_own_trim_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    trim = freed_memory._trim_of_c_library()
    if trim is None:
        pytest.skip("the C library is not GNU's")
    trim()
