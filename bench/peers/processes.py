"""Starts peers as processes and ends them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.tree import OWN, Tree

# A machine that does much else takes minutes.
START_SECONDS = 180.0

BUILDGRID_CONFIG = """
server:
  - !channel
    address: {address}
    insecure-mode: true
description: bench
storages:
  - !disk-storage &cas
    path: {folder}
instances:
  - name: ''
    services:
      - !cas
        storage: *cas
      - !bytestream
        storage: *cas
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """A server that runs."""

    address: str
    pid: int


@contextmanager
def bare_server(environment: Mapping[str, str] | None = None) -> Iterator[Peer]:
    """A bare gRPC server, with more variables."""
    command = [sys.executable, "-m", "bench.peers.bare"]
    env = {**os.environ, **(environment or {})}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert process.stdout is not None
            yield Peer(process.stdout.readline().strip(), process.pid)
        finally:
            process.kill()


def has_buildgrid() -> bool:
    """Whether it is installed."""
    return _buildgrid_program().exists()


def _buildgrid_program() -> Path:
    own = OWN.folder / ".venv-bench" / "bin" / "bgd"
    return Path(os.environ.get("BENCH_BUILDGRID", own))


@contextmanager
def buildgrid(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[Peer]:
    """BuildGrid's ByteStream on a disk storage in `folder`, with more variables.

    It lives in a virtual environment of its own (`BENCH_BUILDGRID`, made by `make bench`).

    Raises:
        FileNotFoundError: that environment is not there.
    """
    program = _buildgrid_program()
    if not program.exists():
        raise FileNotFoundError(f"{program}: run `make bench`, which installs BuildGrid")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    address = free_address()
    config = folder.with_suffix(".yml")
    config.write_text(BUILDGRID_CONFIG.format(address=address, folder=folder))
    with subprocess.Popen(
        [str(program), "server", "start", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
    ) as process:
        try:
            wait_for(address)
            yield Peer(address, process.pid)
        finally:
            process.kill()
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def mesh(data_dir: Path, port_offset: int, tree: Tree = OWN, **environment: str) -> Iterator[Path]:
    """A whole mesh of its own in `data_dir`; the path of its mesh.json."""
    shutil.rmtree(data_dir, ignore_errors=True)
    data_dir.mkdir(parents=True)
    described = data_dir / "mesh.json"
    own = {"ARTSTORE_DATA_DIR": str(data_dir.absolute()), "ARTSTORE_PORT_OFFSET": str(port_offset)}
    with subprocess.Popen(
        [tree.python, "-m", "launch"],
        cwd=tree.folder,
        env=tree.environment({**own, **environment}),
        stdout=subprocess.DEVNULL,
    ) as process:
        try:
            deadline = time.monotonic() + START_SECONDS
            while not described.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the mesh in {data_dir} did not start; see its logs")
                time.sleep(0.1)
            yield described
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)
            shutil.rmtree(data_dir, ignore_errors=True)


def free_address() -> str:
    """host:port where nobody listened a moment ago."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def wait_for(address: str) -> None:
    """Wait until somebody listens there; OSError when nobody does within START_SECONDS."""
    host, _, port = address.partition(":")
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection((host, int(port)), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait until `condition` holds; TimeoutError when it does not within START_SECONDS."""
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {START_SECONDS} s in vain: {what}")
        time.sleep(0.05)
