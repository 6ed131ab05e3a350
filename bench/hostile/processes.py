"""Attackers and the sink, each in processes of their own."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from bench.hostile.target import Target

END_SECONDS = 20.0


@asynccontextmanager
async def sink() -> AsyncIterator[str]:
    """A sink; its address."""
    async with _process("bench.hostile.sink") as process:
        yield await _line(process)


@asynccontextmanager
async def attackers(
    kinds: Sequence[str], targets: Sequence[Target], callers: int, *, niceness: int = 19
) -> AsyncIterator[Counter[str]]:
    """So many callers of these kinds, in a process for each target, until the context ends.

    How their calls ended is counted at the end.
    """
    ends = Counter[str]()
    async with AsyncExitStack() as stack:
        processes = []
        for number, target in enumerate(targets):
            first = callers * number // len(targets)
            count = callers * (number + 1) // len(targets) - first
            process = await stack.enter_async_context(
                _process(
                    "bench.hostile.attacker", ",".join(kinds), str(count), str(first), str(niceness)
                )
            )
            assert process.stdin is not None
            process.stdin.write(f"{target.as_json()}\n".encode())
            await _line(process)
            processes.append(process)
        yield ends
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in processes:
            ends.update(json.loads(await _line(process)))


@asynccontextmanager
async def _process(module: str, *arguments: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, stdin=PIPE, stdout=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _line(process: Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(END_SECONDS):
        line = (await process.stdout.readline()).decode().strip()
    if not line:
        raise RuntimeError(f"a process of the attack ended: {await process.wait()}")
    return line
