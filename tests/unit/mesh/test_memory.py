"""Memory of messages is kept for the next ones, and goes back to the system in the end."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from artstore_client.cli import memory as clients
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


FAULTS = """
import resource, sys, threading
from importlib import import_module

import_module(sys.argv[1]).keep_memory()

def messages():
    for _ in range(20):
        held = [bytes(1 << 20), bytearray(2 << 20)]
        del held

def look():
    messages()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    messages()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

look()
thread = threading.Thread(target=look)
thread.start()
thread.join()
"""


@pytest.mark.parametrize("module", ["mesh.server.memory", "artstore_client.cli.memory"])
def test_the_memory_of_a_message_serves_the_next_one(module: str) -> None:
    plain = faults(module, {"MALLOC_TRIM_THRESHOLD_": "131072"})
    if min(plain) < 1000:
        pytest.skip("this C library keeps it anyway")
    # Of 15,000 pages that the messages take.
    assert max(faults(module, {})) < 1000


def faults(module: str, environment: dict[str, str]) -> list[int]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    ended = subprocess.run(
        [sys.executable, "-c", FAULTS, module],
        env=kept | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(line) for line in ended.stdout.split()]


def test_the_command_keeps_as_much_as_a_server() -> None:
    assert clients._KEPT == memory._KEPT
