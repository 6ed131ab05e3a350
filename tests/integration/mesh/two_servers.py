"""Two servers in processes of their own, at two addresses of this machine and one port."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from artstore.v1 import downloads_pb2, query_pb2, query_pb2_grpc
from mesh.server.server import SERVER_OPTIONS

ADDRESSES = ("127.0.0.1", "127.0.0.2")


class _Query(query_pb2_grpc.QueryServiceServicer):
    """Says by the name of a file which of the two it is."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def GetFile(self, request: Any, context: Any) -> Any:
        answer = query_pb2.QueryServiceGetFileResponse()
        answer.file.original_filename = self._name
        return answer

    async def DownloadFile(self, request: Any, context: Any) -> None:  # type: ignore[override]
        await context.write(downloads_pb2.DownloadResponse())
        await asyncio.Event().wait()


async def _serve(address: str) -> None:
    server = grpc.aio.server(options=list(SERVER_OPTIONS))
    servicer = health.aio.HealthServicer()
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    query_pb2_grpc.add_QueryServiceServicer_to_server(_Query(address), server)
    server.add_insecure_port(address)
    await server.start()
    print("listening", flush=True)
    await server.wait_for_termination()


@dataclass
class TwoServers:
    """`endpoint` names both as a list of addresses."""

    port: int
    processes: dict[str, subprocess.Popen[bytes]]

    @property
    def endpoint(self) -> str:
        return ",".join(f"{address}:{self.port}" for address in ADDRESSES)

    def start(self, address: str) -> None:
        place = f"{address}:{self.port}"
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.mesh.two_servers", place],
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"listening\n"
        self.processes[address] = process

    def freeze(self, address: str) -> None:
        self.processes[address].send_signal(signal.SIGSTOP)

    def mend(self, address: str) -> None:
        if address in self.processes:
            self.processes[address].send_signal(signal.SIGCONT)
        else:
            self.start(address)

    def kill(self, address: str) -> None:
        process = self.processes.pop(address)
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def two_servers() -> Iterator[TwoServers]:
    with socket.socket() as free:
        free.bind((ADDRESSES[0], 0))
        port = free.getsockname()[1]
    servers = TwoServers(port, {})
    try:
        for address in ADDRESSES:
            servers.start(address)
        yield servers
    finally:
        for address in list(servers.processes):
            servers.kill(address)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
