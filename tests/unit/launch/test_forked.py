"""A forked server is what `python -m` would have made, only sooner."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from launch.forked import ForkServer, ForkServerGone
from tests.support.mesh import wait_gone
from tests.support.waiting import wait_until

# Says what it is, and ends as it is told: by a code, or not at all.
SERVER = """
import json, os, sys, time, imported
print(json.dumps({"argv": sys.argv[1:], "name": __name__, "imported_by": imported.pid,
                  "session": os.getsid(0), "environment": dict(os.environ)}), flush=True)
print("to standard error", file=sys.stderr, flush=True)
code = os.environ["CODE"]
time.sleep(60) if code == "never" else sys.exit(int(code))
"""
LAUNCHER = """
import asyncio, os, sys
from launch.forked import ForkServer
async def main():
    server = ForkServer(["imported"], os.environ)
    server.open()
    with open(sys.argv[1], "wb") as log:
        forked = await server.start("served", {**os.environ, "CODE": "never"}, log.fileno())
    print(forked.pid, flush=True)
    await forked.wait()
asyncio.run(main())
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """One in which the modules `served` and `imported` are found."""
    (tmp_path / "served.py").write_text(SERVER)
    (tmp_path / "imported.py").write_text("import os; pid = os.getpid()")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path.cwd())])}


@pytest.fixture
async def server(environment: Mapping[str, str]) -> AsyncIterator[ForkServer]:
    """A fork server that has imported one module and could not import another."""
    server = ForkServer(["imported", "not_there"], environment)
    server.open()
    try:
        yield server
    finally:
        server.close()


def said(path: Path) -> dict[str, Any]:
    """What the server says in its log, once it does."""
    wait_until(lambda: "\n" in path.read_text(), 20, "the server says something")
    found: dict[str, Any] = json.loads(path.read_text().splitlines()[0])
    return found


async def test_it_is_a_child_in_a_session_of_its_own_with_its_own_environment(
    server: ForkServer, environment: Mapping[str, str], tmp_path: Path
) -> None:
    told = {**environment, "CODE": "never", "ONLY_HERE": "ÿ=1"}
    with (tmp_path / "log").open("wb") as log:
        forked = await server.start("served", told, log.fileno())
    found = await asyncio.to_thread(said, tmp_path / "log")
    seen = psutil.Process(forked.pid)
    assert (found["argv"], found["name"]) == ([], "__main__")
    assert found["session"] == forked.pid
    assert found["imported_by"] not in (forked.pid, os.getpid())
    assert found["environment"] == told
    assert (seen.ppid(), seen.cwd()) == (os.getpid(), str(Path.cwd()))
    assert seen.cmdline() == [sys.executable, "-m", "served"]
    assert seen.environ() == told
    forked.send_signal(signal.SIGKILL)
    assert await forked.wait() == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        forked.send_signal(signal.SIGTERM)


@pytest.mark.parametrize("code", [0, 3])
async def test_its_exit_code_and_both_of_its_streams_arrive(
    server: ForkServer, environment: Mapping[str, str], tmp_path: Path, code: int
) -> None:
    with (tmp_path / "log").open("wb") as log:
        forked = await server.start("served", {**environment, "CODE": str(code)}, log.fileno())
    assert await forked.wait() == forked.returncode == code
    assert "to standard error" in (tmp_path / "log").read_text()


async def test_a_module_that_is_missing_says_so_in_its_log(
    server: ForkServer, environment: Mapping[str, str], tmp_path: Path
) -> None:
    with (tmp_path / "log").open("wb") as log:
        forked = await server.start("not_there", environment, log.fileno())
    assert await forked.wait() == 1
    assert "No module named not_there" in (tmp_path / "log").read_text()


def _fork_servers() -> list[psutil.Process]:
    """Those of this process that could not import one module."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            command = child.cmdline()
            if "launch.fork_server" in command and "not_there" in command:
                found.append(child)
    return found


async def test_without_a_fork_server_nothing_is_started_and_the_caller_is_told(
    server: ForkServer, environment: Mapping[str, str], tmp_path: Path
) -> None:
    # Between the steps of its start it shows no command.
    wait_until(lambda: len(_fork_servers()) == 1, 10, "the fork server is there")
    _fork_servers()[0].kill()
    with (tmp_path / "log").open("wb") as log:
        for _ in range(2):
            with pytest.raises(ForkServerGone):
                await server.start("served", {**environment, "CODE": "0"}, log.fileno())
    assert (tmp_path / "log").read_text() == ""


async def test_where_no_orphan_can_be_adopted_nothing_is_started_and_the_caller_is_told(
    server: ForkServer,
    environment: Mapping[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("launch.forked._adopt_orphans", lambda value: None)
    with (tmp_path / "log").open("wb") as log, pytest.raises(ForkServerGone):
        await server.start("served", {**environment, "CODE": "0"}, log.fileno())
    assert (tmp_path / "log").read_text() == ""


def test_it_dies_with_the_launcher_and_so_does_the_fork_server(
    environment: Mapping[str, str], tmp_path: Path
) -> None:
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(tmp_path / "log")],
        env=environment,
        stdout=subprocess.PIPE,
    )
    assert launcher.stdout is not None
    forked = int(launcher.stdout.readline())
    pids = [child.pid for child in psutil.Process(launcher.pid).children()]
    assert forked in pids
    assert len(pids) == 2
    launcher.kill()
    launcher.wait()
    launcher.stdout.close()
    wait_gone(pids, 5)
