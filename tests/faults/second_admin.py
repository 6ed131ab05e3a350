"""A second admin over the database of the first, as a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from launch import processes
from tests.support.mesh import MeshProcess
from tests.support.waiting import wait_until

# Between those of admin and of the elements, so within the block that was found free.
PORT = 8005
START_SECONDS = 60.0


class SecondAdmin:
    """Takes its share of the work; nobody but it is told where it listens."""

    def __init__(self, mesh: MeshProcess) -> None:
        self._mesh = mesh
        first = psutil.Process(mesh.pid_of("admin"))
        self._environment = {**first.environ(), "ARTSTORE_PORT": str(PORT)}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it without waiting."""
        with (self._mesh.data_dir / "logs" / "admin-2.log").open("ab") as log:
            self._process = subprocess.Popen(
                processes.wrapped([sys.executable, "-m", "admin_server"]),
                env=self._environment,
                cwd=self._mesh.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_answers(self, seconds: float = START_SECONDS) -> None:
        """Wait until it serves."""
        endpoint = f"127.0.0.1:{PORT + self._mesh.port_offset}"
        with grpc.insecure_channel(endpoint) as channel:
            stub = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]

            def serves() -> bool:
                try:
                    answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=1.0)
                except grpc.RpcError:
                    return False
                return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

            wait_until(serves, seconds, "the second admin answers")

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            processes.signal_family(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
