"""A storage element in a process of its own, which a test may kill."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from launch.processes import free_port
from tests.integration.storage.rig import Node, Rig, until
from tests.services import clean_environment


class Process:
    """`python -m storage_server` on a port of its own.

    Args:
        environment: more variables, those of a bucket for one.
    """

    def __init__(self, rig: Rig, environment: Mapping[str, str] | None = None) -> None:
        self.port = free_port()
        self.rig = rig
        values = rig.values
        self.environment = clean_environment() | {
            "ARTSTORE_DATABASE_URL": values["database_url"],
            "ARTSTORE_REDIS_URL": values["redis_url"],
            "ARTSTORE_DATA_DIR": str(values["data_dir"]),
            "ARTSTORE_KEYS_PATH": str(values["keys_path"]),
            "ARTSTORE_ADMIN_ENDPOINT": values["admin_endpoint"],
            "ARTSTORE_ELEMENT_ID": "se-01",
            "ARTSTORE_PORT": str(self.port),
            "ARTSTORE_METRICS_PORT": "0",
            "ARTSTORE_LOG_PATH": str(rig.folder / "server.log"),
            "PYTHONPATH": os.pathsep.join(["gen", "."]),
            **(environment or {}),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "storage_server", *arguments],
            env=self.environment,
            cwd=Path(__file__).parents[3],
        )
        return self.process

    @asynccontextmanager
    async def node(self) -> AsyncIterator[Node]:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            node = Node(self.rig, None, channel)  # type: ignore[arg-type]

            async def writable() -> bool:
                try:
                    return (await node.element()).writable
                except grpc.aio.AioRpcError:
                    return False

            await until(writable, 30)
            yield node

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
