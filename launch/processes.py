"""Processes as the launcher sees them: how they start, and which of them are still there.

A pid alone names nothing, since numbers are used again; a pid with its start time does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

_CHILD_SCRIPT = Path(__file__).with_name("child.py")


def wrapped(
    command: list[str], *, death_signal: int = signal.SIGTERM, user: str | None = None
) -> list[str]:
    """Return a command that runs `command` and ends it when the calling process dies.

    Args:
        command: absolute path of the program and its arguments.
        death_signal: what the program gets when the caller dies.
        user: account to run it as; only root may name one.
    """
    return [
        sys.executable,
        "-IS",
        str(_CHILD_SCRIPT),
        str(os.getpid()),
        str(int(death_signal)),
        user or "-",
        "--",
        *command,
    ]


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Identity:
    """A process that cannot be taken for another one. `started_at` is in Unix seconds."""

    pid: int
    started_at: float

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """Return the identity of a live process, None if there is none of that number."""
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.Error:
            return None

    def find(self) -> psutil.Process | None:
        """Return the process while it lives."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started_at) < 0.05
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all its descendants, parents first; empty if it is gone."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def signal_family(pid: int, number: int) -> None:
    """Send a signal to a process and all its descendants."""
    for process in family(pid):
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def end(leftovers: Iterable[Identity], number: int, *, grace_seconds: float) -> list[int]:
    """End processes and their descendants: signal `number`, then SIGKILL.

    Returns the pids that were alive. Blocks for up to `grace_seconds` and 5 s.
    """
    found = [process for left in leftovers if (process := left.find())]
    everyone = [member for process in found for member in family(process.pid)]
    for process in found:
        # A stopped process gets its signal only when it goes on.
        for each in (number, signal.SIGCONT):
            with contextlib.suppress(psutil.Error):
                process.send_signal(each)
    _, alive = psutil.wait_procs(everyone, timeout=grace_seconds)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=5)
    return [process.pid for process in found]
