"""Servers as processes of a test, forked from one that has imported everything.

A start takes a quarter of the time that `python -m` takes, and what comes of it is the same
(`launch/forked.py`). Tests of the command line itself start that instead.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache

import psutil

from launch import topology
from launch.forked import ForkServer, ForkServerGone
from tests.support.services import clean_environment


class Launcher:
    """A launcher that was forked, as `subprocess.Popen` shows a process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code once it has ended."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                # Somebody else was told.
                self.returncode = -int(signal.SIGKILL)
            else:
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and return its exit code.

        Raises:
            subprocess.TimeoutExpired: it goes on.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("launch", timeout or 0.0)
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


def start(module: str, environment: Mapping[str, str]) -> psutil.Process:
    """Start `python -m module` in this working folder, with the standard error of the test."""
    server = _fork_server("storage_server.app", "mesh.postgres.revisions")
    try:
        return psutil.Process(server.fork(module, environment, 2))
    except ForkServerGone:
        return psutil.Popen([sys.executable, "-m", module], env=dict(environment))


def launch(environment: Mapping[str, str], log: int) -> Launcher | None:
    """Start `python -m launch` in this working folder; None when that can't be done here."""
    server = _fork_server(*topology.imports(), "tests.support.forked_launch")
    try:
        return Launcher(server.fork("tests.support.forked_launch", environment, log))
    except ForkServerGone:
        return None


@cache
def _fork_server(*modules: str) -> ForkServer:
    # As the launcher starts its own.
    decided_at_start = {"PYTHONPATH": os.pathsep.join(["gen", "."]), "PYTHONUNBUFFERED": "1"}
    server = ForkServer(modules, clean_environment() | decided_at_start)
    server.open()
    atexit.register(server.close)
    return server
