"""The `artstore` command as a process."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.contract.client.fake_mesh import FakeMesh

COMMAND = (sys.executable, "-c", "from artstore_client.cli import main; main()")


@dataclass
class Ended:
    code: int
    out: str
    err: str

    @property
    def documents(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.out.splitlines()]


class Shell:
    """Runs the command in a folder, told of the fake mesh by the environment."""

    def __init__(self, fake: FakeMesh, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {
            "ARTSTORE_ADMIN_ENDPOINT": fake.endpoint,
            "ARTSTORE_INGEST_ENDPOINT": fake.endpoint,
            "ARTSTORE_STORAGE_ENDPOINTS": f"se-01={fake.endpoint}",
            "ARTSTORE_CLIENT_ID": "tester",
            "ARTSTORE_CLIENT_SECRET": "secret",
            "XDG_CACHE_HOME": str(folder / "cache"),
            "PYTHONIOENCODING": "utf-8",
        }

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *COMMAND,
            *arguments,
            cwd=self.folder,
            env=self.environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *arguments: str, stdin: bytes = b"") -> Ended:
        process = await self.start(*arguments)
        out, err = await process.communicate(stdin)
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), err.decode())
