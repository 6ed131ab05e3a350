"""Processor time and page faults of processes: what holds while others use the machine too."""

from __future__ import annotations

import asyncio
import hashlib
import os
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

MICROSECONDS = 1e6
SHA256_AT = 975
"""Microseconds that a MiB of SHA-256 takes on the machine that floors and goals are for."""

_MIB = 1024 * 1024
_SHA256_MIB = 64
_PIECE = 512 * 1024
_CPUCLOCK_SCHED = 2
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Used:
    """What processes have used: seconds of processor time, user and system, and page faults."""

    seconds: float = 0.0
    faults: int = 0

    def __add__(self, other: Used) -> Used:
        return Used(self.seconds + other.seconds, self.faults + other.faults)

    def __sub__(self, other: Used) -> Used:
        return Used(self.seconds - other.seconds, self.faults - other.faults)

    def microseconds_each(self, count: float) -> float:
        """For each of `count` MiB or files."""
        return self.seconds * MICROSECONDS / count


def used_by(pid: int) -> Used:
    """What a process and its children have used so far, also those that have ended.

    Nothing for a process that is gone.
    """
    used = Used()
    with suppress(psutil.NoSuchProcess, OSError):
        family = [pid]
        if pid != os.getpid():  # all that is measured are children of this one
            family += [child.pid for child in psutil.Process(pid).children(recursive=True)]
        for one in family:
            with suppress(OSError):
                used += _own(one)
    return used


def _own(pid: int) -> Used:
    # Behind the name, which may hold anything, the numbers from the third on.
    rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ended = (int(rest[13]) + int(rest[14])) / _TICKS
    faults = sum(int(rest[number]) for number in (7, 8, 9, 10))
    # To the nanosecond, where `stat` counts ticks.
    return Used(time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED) + ended, faults)


@dataclass(slots=True)
class Watched:
    """What each process uses between the two ends of `during`.

    Attributes:
        processes: pid by name.
        used: filled when the context ends.
    """

    processes: Mapping[str, int]
    used: dict[str, Used] = field(default_factory=dict)

    @contextmanager
    def during(self) -> Iterator[None]:
        """Look before and after."""
        # This process too, but not what it takes to look at the others.
        names = sorted(self.processes, key=lambda name: self.processes[name] == os.getpid())
        before = {name: used_by(self.processes[name]) for name in names}
        yield
        after = {name: used_by(self.processes[name]) for name in reversed(names)}
        self.used = {name: after[name] - before[name] for name in names}

    def of(self, *names: str) -> Used:
        """Of these together."""
        return sum((self.used[name] for name in names), Used())


def sha256_us() -> float:
    """Processor time of SHA-256 here and now, in microseconds for a MiB. Blocks for 60 ms or so."""
    data = memoryview(os.urandom(_SHA256_MIB * _MIB))
    digest = hashlib.sha256()
    before = time.thread_time()
    for offset in range(0, len(data), _PIECE):
        digest.update(data[offset : offset + _PIECE])
    return (time.thread_time() - before) * MICROSECONDS / _SHA256_MIB


async def sha256_of_machine(rounds: int = 3) -> float:
    """The median of several rounds of `sha256_us`."""
    return statistics.median([await asyncio.to_thread(sha256_us) for _ in range(rounds)])
