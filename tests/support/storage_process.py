"""An element as a process of its own, to be frozen and killed."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc
import psutil

from launch.processes import free_port
from tests.support import forking
from tests.support.services import clean_environment
from tests.support.storage_rig import Node, Rig
from tests.support.waiting import until


class Process:
    """`python -m storage_server` on a port of its own.

    Args:
        environment: more variables.
    """

    def __init__(self, rig: Rig, environment: Mapping[str, str] | None = None) -> None:
        self.port = free_port()
        self.rig = rig
        self.log_path = rig.folder / f"server-{self.port}.log"
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
            "ARTSTORE_LOG_PATH": str(self.log_path),
            "PYTHONPATH": os.pathsep.join(["gen", "."]),
        }
        if values["s3_endpoint_url"]:
            self.environment |= {
                "ARTSTORE_S3_ENDPOINT_URL": values["s3_endpoint_url"],
                "ARTSTORE_S3_BUCKET": values["s3_bucket"],
                **{name: told for name, told in os.environ.items() if name.startswith("AWS_")},
            }
        self.environment |= environment or {}
        self.process: psutil.Process | None = None

    def start(self, *arguments: str) -> psutil.Process:
        """Start it without waiting; only without arguments is it forked."""
        if arguments:
            command = [sys.executable, "-m", "storage_server", *arguments]
            self.process = psutil.Popen(
                command, env=self.environment, cwd=Path(__file__).parents[2]
            )
        else:
            self.process = forking.start("storage_server", self.environment)
        return self.process

    @asynccontextmanager
    async def node(self, *, writes: bool = True) -> AsyncIterator[Node]:
        """A client, when the process answers and, unless told otherwise, is the writer."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            node = Node(self.rig, None, channel)  # type: ignore[arg-type]

            async def ready() -> bool:
                try:
                    return (await node.element()).writable or not writes
                except grpc.aio.AioRpcError:
                    return False

            await until(ready, 60)
            yield node

    def kill(self) -> None:
        if self.process is not None:
            with suppress(psutil.NoSuchProcess):
                self.process.kill()
            self.process.wait()
