"""`python -m launch` as a process of the test: started, waited for, looked into, ended.

As fixtures it is the whole mesh in a folder of its own, on local files and on S3. `mesh` runs a
test on both; `mesh_local` and `mesh_s3` are shared by a whole test run, so a test leaves them as it
found them. `own_mesh` makes meshes for tests that break things.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from launch import processes, topology
from tests.support import forking
from tests.support.forking import Launcher
from tests.support.services import S3Process, clean_environment, copy_cluster, freeze_family
from tests.support.waiting import wait_until

REPOSITORY = Path(__file__).parent.parent.parent
PYTHONPATH = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "gen")])
START_SECONDS = 90.0
STOP_SECONDS = 40.0
LOUD = ("error", "critical")
# The first start of a mesh has tables that are new, as those of one that has lost them.
NEW_TABLES = {
    "ARTSTORE_FIRST_HOME_STEP_SECONDS": "3",
    "ARTSTORE_DECISIONS_LIVE_SECONDS": "3",
}

# Of a run of tests that were written for plain text: all meshes speak TLS.
ON_TLS = {"ARTSTORE_TLS": "1"} if os.environ.get("TESTS_ON_TLS") == "1" else {}


def free_port_offset() -> int:
    """Return an offset at which all ports of a mesh were free a moment ago."""
    settings = topology.LaunchSettings.read({})
    for offset in random.sample(range(1000, 20000, 50), 50):
        if all(is_free(port + offset) for port in topology.ports(settings)):
            return offset
    raise RuntimeError("no free block of ports")


def is_free(port: int, address: str = "127.0.0.1") -> bool:
    """Say whether nobody listens there now."""
    with closing(socket.socket()) as probe:
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class MeshFile:
    """What mesh.json says."""

    endpoints: dict[str, Any]
    client_id: str
    client_secret: str
    database_url: str
    redis_url: str
    data_dir: Path
    processes: dict[str, int]
    tls: dict[str, str] | None = None

    @classmethod
    def read(cls, path: Path) -> MeshFile:
        found = json.loads(path.read_text())
        return cls(**{**found, "data_dir": Path(found["data_dir"])})

    def metrics(self, endpoint: str) -> str:
        """The page of the server at host:port."""
        host, _, port = endpoint.rpartition(":")
        context = ssl.create_default_context(cafile=self.tls["ca_file"]) if self.tls else None
        place = f"{host}:{int(port) + topology.METRICS_PORT_DISTANCE}/metrics"
        url = f"{'https' if context else 'http'}://{place}"
        with urllib.request.urlopen(url, timeout=10, context=context) as page:
            return str(page.read().decode())


class MeshProcess:
    """One `python -m launch`.

    Args:
        data_dir: its ARTSTORE_DATA_DIR; short, since Unix sockets live below it.
        environment: more variables.
        cwd: folder to start in; servers are imported from there first.
        umask: of the shell that starts it; -1 for ours.
        before: a program and its arguments that start the launcher.
        forked: from a process that has imported everything: it is there in half the time, and in
            all but its command line the same.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        environment: Mapping[str, str] | None = None,
        cwd: Path = REPOSITORY,
        port_offset: int | None = None,
        umask: int = -1,
        before: Sequence[str] = (),
        forked: bool = False,
    ) -> None:
        self._umask = umask
        self._before = before
        self._forked = forked
        self.data_dir = data_dir
        self.cwd = cwd
        self.port_offset = free_port_offset() if port_offset is None else port_offset
        self.environment = {
            **clean_environment(),
            "PYTHONPATH": PYTHONPATH,
            "ARTSTORE_DATA_DIR": str(data_dir),
            "ARTSTORE_PORT_OFFSET": str(self.port_offset),
            **NEW_TABLES,
            **ON_TLS,
            **(environment or {}),
        }
        self.mesh_file = data_dir / "mesh.json"
        self._process: subprocess.Popen[bytes] | Launcher | None = None
        self._output = data_dir.parent / f"{data_dir.name}.launch.log"

    @property
    def output(self) -> str:
        """What the launcher printed, of all runs."""
        return self._output.read_text(errors="replace") if self._output.exists() else ""

    @property
    def file(self) -> MeshFile:
        """mesh.json as it is now."""
        return MeshFile.read(self.mesh_file)

    @property
    def pid(self) -> int:
        """The launcher's."""
        assert self._process is not None
        return self._process.pid

    def begin(self) -> None:
        """Start without waiting."""
        with self._output.open("ab") as log:
            # What is decided as Python starts is not decided anew.
            if self._forked and self.environment["PYTHONPATH"] == PYTHONPATH:
                self._process = forking.launch(self.environment, log.fileno())
                if self._process is not None:
                    return
            self._process = subprocess.Popen(
                [*self._before, *processes.wrapped([sys.executable, "-m", "launch"])],
                cwd=self.cwd,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                umask=self._umask,
                start_new_session=True,
            )

    def start(self) -> MeshFile:
        """Start, and wait until all servers answer."""
        before = self._stamp()
        self.begin()
        try:
            wait_until(lambda: self._started(before), START_SECONDS, "the mesh answers")
        except BaseException:
            self.kill()
            raise
        return self.file

    def _stamp(self) -> int:
        return self.mesh_file.stat().st_ino if self.mesh_file.exists() else 0

    def _started(self, before: int) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"launch ended with {self._process.returncode}:\n{self.output}")
        return self._stamp() != before

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait until the launcher ends, and return its exit code."""
        assert self._process is not None
        return self._process.wait(seconds)

    def stop(self) -> int:
        """Ctrl-C, and wait for the end."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            processes.signal_family(self._process.pid, signal.SIGCONT)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """SIGKILL to the launcher and everything it started."""
        if self._process is not None:
            processes.signal_family(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def pid_of(self, name: str) -> int:
        """Return the pid of one process of the mesh by its name in mesh.json."""
        return self.file.processes[name]

    def signal(self, name: str, number: int) -> None:
        """Send a signal to one process of the mesh and its children."""
        processes.signal_family(self.pid_of(name), number)

    def freeze(self, name: str) -> None:
        """Stop one process by SIGSTOP: it accepts and never answers."""
        freeze_family(self.pid_of(name))

    def thaw(self, name: str) -> None:
        """Let a frozen process go on."""
        self.signal(name, signal.SIGCONT)

    def kill_one(self, name: str) -> int:
        """SIGKILL one process, and return the pid it had."""
        pid = self.pid_of(name)
        processes.signal_family(pid, signal.SIGKILL)
        return pid

    def wait_restarted(self, name: str, old_pid: int, seconds: float = 10.0) -> int:
        """Wait until a killed process runs again under another pid, and return that."""

        def runs_again() -> bool:
            # While others start, mesh.json leaves out what is dead.
            pid = self.file.processes.get(name, old_pid)
            return pid != old_pid and psutil.pid_exists(pid)

        wait_until(runs_again, seconds, f"{name} is restarted")
        return self.pid_of(name)

    def log(self, name: str) -> str:
        """Return the log of one process."""
        path = self.data_dir / "logs" / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""


def alive(pids: list[int]) -> list[int]:
    """Return those of `pids` that still run."""
    found = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except psutil.Error:
            continue
    return found


def wait_gone(pids: list[int], seconds: float = 10.0) -> None:
    """Wait until none of `pids` runs."""
    deadline = time.monotonic() + seconds
    while alive(pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert alive(pids) == []


def loud_lines(mesh: MeshProcess) -> list[str]:
    """Return the lines of the servers' logs that are of level ERROR or above, or no log line."""
    found = []
    for plan in topology.SERVERS:
        for line in mesh.log(plan.name).splitlines():
            try:
                level = str(json.loads(line).get("level", "")).lower()
            except (ValueError, AttributeError):
                level = LOUD[0]
            if level in LOUD:
                found.append(f"{plan.name}: {line}")
    return found


@contextmanager
def running_mesh(environment: Mapping[str, str], *, quiet: bool) -> Iterator[MeshProcess]:
    """Run a mesh with nothing in it.

    Args:
        environment: more variables.
        quiet: fail at the end if a server logged an error.
    """
    with tempfile.TemporaryDirectory(prefix="artstore-mesh-") as folder:
        mesh = MeshProcess(Path(folder) / "data", environment=environment, forked=True)
        if "ARTSTORE_DATABASE_URL" not in environment:
            mesh.data_dir.mkdir()
            copy_cluster(mesh.data_dir / "postgres")
        try:
            mesh.start()
            yield mesh
            mesh.stop()
        finally:
            mesh.kill()
        if quiet and (loud := loud_lines(mesh)):
            raise AssertionError("servers logged errors:\n" + "\n".join(loud))


shared: list[MeshProcess] = []
"""The meshes for all tests that run; `tests/distribution.py` stops them after the last of these."""


@pytest.fixture(scope="session")
def mesh_local() -> Iterator[MeshProcess]:
    """A mesh on local files, for all tests; never stop a part of this one."""
    with running_mesh({}, quiet=True) as mesh:
        shared.append(mesh)
        yield mesh


@pytest.fixture(scope="session")
def mesh_s3(s3_server: S3Process) -> Iterator[MeshProcess]:
    """A mesh on S3, for all tests; never stop a part of this one."""
    with running_mesh(s3_server.create_bucket().environment(), quiet=True) as mesh:
        shared.append(mesh)
        yield mesh


@pytest.fixture(params=["local", "s3"])
def mesh(request: pytest.FixtureRequest) -> MeshProcess:
    """The shared mesh, once on local files and once on S3."""
    found: MeshProcess = request.getfixturevalue(f"mesh_{request.param}")
    return found


@pytest.fixture
def own_mesh() -> Iterator[Callable[..., MeshProcess]]:
    """Starts meshes that this test alone has: `own_mesh(ARTSTORE_RESTART="0")`."""
    with ExitStack() as meshes:

        def start(**environment: str) -> MeshProcess:
            return meshes.enter_context(running_mesh(environment, quiet=False))

        yield start
