"""`python -m bench.hostile.attacker KINDS CALLERS FIRST NICENESS`: hostile callers as one process.

KINDS are joined by commas, and callers take turns with them; FIRST is the number of the first one.

It reads one line, the target as JSON, prints "begun", attacks until its input ends, and prints how
its calls ended as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import threading
from collections import Counter
from collections.abc import Sequence

import grpc.aio

from bench.hostile.kinds import KINDS, Act, Attacker
from bench.hostile.target import Target

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


async def main(kinds: Sequence[str], callers: int, first: int) -> None:
    """Attack until the input ends, and the process with it."""
    target = Target.of_json(sys.stdin.readline())
    ends = Counter[str]()
    print("begun", flush=True)
    threading.Thread(target=_end, args=(ends,), daemon=True).start()
    tasks = []
    for number in range(first, first + callers):
        turn, kind = divmod(number, len(kinds))
        act, me = KINDS[kinds[kind]].act, Attacker(turn, target)
        tasks.append(asyncio.create_task(_attack(act, me, ends)))
        await asyncio.sleep(PAUSE_SECONDS / callers)
    await asyncio.gather(*tasks)


def _end(ends: Counter[str]) -> None:
    """Wait for the end of the input in a thread: the loop may be late by seconds."""
    sys.stdin.read()
    print(json.dumps(dict(ends)), flush=True)
    # Hostile callers do not take their leave.
    os._exit(0)


if __name__ == "__main__":
    os.nice(int(sys.argv[4]))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(main(sys.argv[1].split(","), int(sys.argv[2]), int(sys.argv[3])))
