"""A process is known by its pid and start time, and dies with the one that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from launch import processes
from launch.os_user import OsUser
from launch.processes import Identity
from tests.support.mesh import wait_gone

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
IGNORE = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
STUBBORN = [sys.executable, "-c", f"{IGNORE}; print('on', flush=True); time.sleep(60)"]


def test_a_reused_pid_is_somebody_else() -> None:
    identity = Identity.of(os.getpid())
    assert identity is not None
    assert identity.find() is not None
    assert replace(identity, started_at=identity.started_at - 10).find() is None


def test_end_spares_a_process_of_another_start_time() -> None:
    process = subprocess.Popen(SLEEP)
    identity = Identity.of(process.pid)
    assert identity is not None
    stale = replace(identity, started_at=identity.started_at - 10)
    assert processes.end([stale], signal.SIGTERM, grace_seconds=1) == []
    assert process.poll() is None
    assert processes.end([identity], signal.SIGTERM, grace_seconds=5) == [process.pid]
    assert identity.find() is None
    process.wait()


def test_end_kills_who_does_not_listen() -> None:
    process = subprocess.Popen(STUBBORN, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    identity = Identity.of(process.pid)
    assert identity is not None
    processes.end([identity], signal.SIGTERM, grace_seconds=0.2)
    assert identity.find() is None
    process.wait()
    process.stdout.close()


def test_end_reaches_a_stopped_process() -> None:
    process = subprocess.Popen(SLEEP)
    process.send_signal(signal.SIGSTOP)
    identity = Identity.of(process.pid)
    assert identity is not None
    processes.end([identity], signal.SIGTERM, grace_seconds=5)
    assert identity.find() is None
    process.wait()


def test_a_child_dies_with_its_parent() -> None:
    script = (
        "import subprocess, sys, time\n"
        "from launch import processes\n"
        f"child = subprocess.Popen(processes.wrapped({SLEEP!r}))\n"
        "time.sleep(0.5)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_gone([child], 5)


ACCESS = "import os, sys; sys.exit(not os.access(sys.argv[1], os.R_OK | os.X_OK))"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes the user")
def test_program_under_another_account_may_use_what_lies_below_a_folder_of_root(
    tmp_path: Path,
) -> None:
    user = OsUser.needed()
    assert user is not None
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    program = private / "program"
    program.touch(mode=0o700)
    asked = [sys.executable, "-ISc", ACCESS, str(program)]
    assert subprocess.run(processes.wrapped(asked, user=user.name), check=False).returncode == 0
