"""A checkout whose servers and client are measured: this one, or that of another version."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

# What servers tell the C library themselves, as variables for those that do not.
MALLOC = {
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
    "MALLOC_TOP_PAD_": str(4 << 20),
    "MALLOC_MMAP_THRESHOLD_": str(16 << 20),
}
_OF_MALLOC = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")


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
        """What is checked out, and whether it was changed since."""
        changed = self._git("status", "--porcelain", "--untracked-files=no")
        told = self._git("log", "-1", "--format=%h %cs") or "unknown"
        return f"{told}, changed" if changed else told

    def _git(self, *arguments: str) -> str:
        asked = subprocess.run(
            ["git", "-C", str(self.folder), *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        return asked.stdout.strip()

    @cached_property
    def tells_malloc(self) -> bool:
        """Whether its servers tell the C library to keep memory, which nobody sees from outside."""
        sources = (self.folder / "mesh").rglob("*.py")
        return any("mallopt" in source.read_text() for source in sources)

    def malloc_of(self, pid: int) -> dict[str, str]:
        """Variables that give a peer the malloc settings of a server: both have them, or none."""
        lines = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        pairs = (line.decode(errors="replace").partition("=") for line in lines)
        told = {name: value for name, _, value in pairs if name.startswith(_OF_MALLOC)}
        return told or (MALLOC if self.tells_malloc else {})

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
