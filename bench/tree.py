"""A checkout whose servers and client are measured: this one, or that of another version."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True)
class Tree:
    """Its folder. Programs run on its `.venv` if it has one, else on the Python of this process."""

    folder: Path

    @property
    def python(self) -> str:
        """The interpreter."""
        own = self.folder / ".venv" / "bin" / "python"
        return str(own) if own.exists() else sys.executable

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Of a process that imports everything of ours from this checkout."""
        path = os.pathsep.join([str(self.folder), str(self.folder / "gen")])
        return {**os.environ, "PYTHONPATH": path, **(more or {})}

    @cached_property
    def chunk_bytes(self) -> int:
        """Of its own client."""
        return int(self._says("from artstore_client.contract import CHUNK_BYTES as c; print(c)"))

    @property
    def commit(self) -> str:
        """What is checked out."""
        asked = subprocess.run(
            ["git", "-C", str(self.folder), "log", "-1", "--format=%h %cs"],
            capture_output=True,
            text=True,
            check=False,
        )
        return asked.stdout.strip() or "unknown"

    def _says(self, program: str) -> str:
        asked = subprocess.run(
            [self.python, "-c", program],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        return asked.stdout.strip()


OWN = Tree(Path(__file__).parents[1])
