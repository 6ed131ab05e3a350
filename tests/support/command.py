"""The `artstore` command as a process of its own, to be killed in the midst of its work."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.support.mesh import MeshProcess

SECONDS = 120.0


class Command:
    """One run of `artstore`.

    Args:
        home: its cache folder, where unfinished uploads are remembered.
        stdin: `subprocess.PIPE` to feed it.
    """

    def __init__(
        self, mesh: MeshProcess, home: Path, *arguments: str, stdin: int = subprocess.DEVNULL
    ) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import sys; from artstore_client.cli import main; sys.exit(main())",
                *arguments,
            ],
            env={
                **mesh.environment,
                "ARTSTORE_MESH": str(mesh.mesh_file),
                "XDG_CACHE_HOME": str(home),
            },
            cwd=mesh.cwd,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def result(self) -> dict[str, Any]:
        """Wait for success and return the JSON line that it printed."""
        out, err = self.process.communicate(timeout=SECONDS)
        assert self.process.returncode == 0, err.decode()
        found: dict[str, Any] = json.loads(out.decode().splitlines()[-1])
        return found

    def wait_until_at(self, path: Path, byte: int) -> int:
        """Wait until it has read `path` up to `byte`, or has ended; answers how far it was."""
        deadline = time.monotonic() + SECONDS
        position = 0
        while position < byte and self.process.poll() is None and time.monotonic() < deadline:
            position = max(position, _position(self.process.pid, path))
        return position

    def kill_at(self, path: Path, byte: int) -> int:
        """SIGKILL once it has read `path` up to `byte`; answers how far it was."""
        position = self.wait_until_at(path, byte)
        if position >= byte:
            self.process.send_signal(signal.SIGKILL)
        self.process.communicate(timeout=SECONDS)
        assert self.process.returncode == -signal.SIGKILL, "it was done before it was killed"
        return position

    def kill(self) -> None:
        """SIGKILL now."""
        self.process.kill()
        self.process.communicate()


def _position(pid: int, path: Path) -> int:
    """Offset of the process's file descriptor of `path`; 0 while it has none."""
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            if str(entry.readlink()) == str(path):
                info = Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text()
                return int(info.partition("pos:")[2].split()[0])
    except OSError:
        pass
    return 0


def make_file(path: Path, size: int, seed: int) -> str:
    """Fill a file with bytes that do not repeat, and return their SHA-256."""
    import hashlib
    import random

    generator, digest = random.Random(seed), hashlib.sha256()
    with path.open("wb") as file:
        for start in range(0, size, 1 << 20):
            block = generator.randbytes(min(1 << 20, size - start))
            digest.update(block)
            file.write(block)
    return digest.hexdigest()
