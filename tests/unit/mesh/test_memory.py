"""Memory that nobody needs any more goes back to the system."""

from __future__ import annotations

import asyncio

import pytest

from mesh.server import memory
from tests.support.waiting import until


async def test_a_server_that_has_grown_gives_memory_back(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, trims, looks = [100, 100 + memory.GROWN_BYTES - 1, 100 + memory.GROWN_BYTES], [0], [0]

    def resident() -> int:
        looks[0] += 1
        return sizes[0] if looks[0] == 1 else sizes[step]

    def trim(pad: int) -> int:
        trims[0] += 1
        return 1

    step = 1
    monkeypatch.setattr(memory, "resident_bytes", resident)
    monkeypatch.setattr(memory, "_trim", lambda: trim)
    monkeypatch.setattr(memory, "INTERVAL_SECONDS", 0.001)
    watch = asyncio.create_task(memory.give_memory_back())
    await until(lambda: looks[0] > 10)
    assert trims == [0]
    step = 2
    await until(lambda: trims[0] > 1)
    watch.cancel()


def test_this_process_has_a_size_and_can_give_back() -> None:
    assert memory.resident_bytes() > 2**20
    trim = memory._trim()
    assert trim is None or trim(0) in (0, 1)
