"""`python -m bench.hostile.attacker KIND CALLERS FIRST`: hostile callers as one process.

It reads one line, the target as JSON, prints "begun", attacks until its input ends, and prints how
its calls ended as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
from collections import Counter

import grpc.aio

from bench.hostile.kinds import KINDS, Act, Attacker
from bench.hostile.target import Target

NICENESS = 19
PAUSE_SECONDS = 1.0


async def _attack(act: Act, me: Attacker, ends: Counter[str]) -> None:
    while True:
        try:
            await act(me)
            ends["OK"] += 1
        except grpc.aio.AioRpcError as error:
            ends[error.code().name] += 1
        except (OSError, asyncio.IncompleteReadError, asyncio.InvalidStateError):
            ends["broken off"] += 1
        except grpc.aio.UsageError:
            ends["refused in mid-stream"] += 1
        await asyncio.sleep(PAUSE_SECONDS)


async def main(kind: str, callers: int, first: int) -> None:
    """Attack until the input ends."""
    target = Target.of_json(sys.stdin.readline())
    act, ends = KINDS[kind].act, Counter[str]()
    print("begun", flush=True)
    tasks = []
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    for number in range(first, first + callers):
        tasks.append(asyncio.create_task(_attack(act, Attacker(number, target), ends)))
        await asyncio.sleep(PAUSE_SECONDS / callers)
    await ended
    print(json.dumps(ends), flush=True)
    # Hostile callers do not take their leave.
    os._exit(0)


if __name__ == "__main__":
    os.nice(NICENESS)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
