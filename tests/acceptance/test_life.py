"""The mesh over its life: first start, stop, death of everything, reset."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import psutil

from tests.acceptance.empty_element import assert_all_zero
from tests.support.mesh import REPOSITORY, MeshProcess, wait_gone
from tests.support.outside import Outside

StartMesh = Callable[..., MeshProcess]


def everyone(mesh: MeshProcess) -> list[int]:
    """Return the pids of the launcher and all below it."""
    below = psutil.Process(mesh.pid).children(recursive=True)
    return [mesh.pid, *(process.pid for process in below)]


def put(mesh: MeshProcess, content: bytes) -> tuple[str, str]:
    """Upload a file; the element that took it, and its id.

    That is se-01, unless it is not known as healthy again since somebody was killed.
    """
    with Outside(mesh.file) as outside:
        file = outside.upload(content, "life.txt")
        return file.storage_element_id, file.file_id


def read(mesh: MeshProcess, stored: tuple[str, str]) -> bytes:
    """Download what was put."""
    with Outside(mesh.file) as outside:
        return outside.download(*stored)[1]


def test_the_next_start_finds_the_data_until_a_reset(own_mesh: StartMesh) -> None:
    mesh = own_mesh()
    account = mesh.file.client_id, mesh.file.client_secret
    first = put(mesh, b"before Ctrl-C")
    pids = everyone(mesh)
    assert mesh.stop() == 0
    wait_gone(pids, 1.0)

    mesh.start()
    assert (mesh.file.client_id, mesh.file.client_secret) == account
    assert read(mesh, first) == b"before Ctrl-C"
    second = put(mesh, b"before kill -9")
    mesh.kill()

    mesh.start()
    assert (mesh.file.client_id, mesh.file.client_secret) == account
    assert read(mesh, first) == b"before Ctrl-C"
    assert read(mesh, second) == b"before kill -9"

    refused = _reset(mesh)
    assert refused.returncode == 2
    assert "a mesh runs in" in refused.stderr
    mesh.stop()
    assert _reset(mesh).returncode == 0
    assert [path.name for path in mesh.data_dir.iterdir()] == ["launch.lock"]
    mesh.start()
    assert mesh.file.client_secret != account[1]
    with Outside(mesh.file) as outside:
        for element in ("se-01", "se-02", "se-03"):
            assert outside.list(element).total_size == 0
            assert_all_zero(outside, element)


def _reset(mesh: MeshProcess) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "launch.reset"],
        cwd=REPOSITORY,
        env=mesh.environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_file_is_readable_again_after_each_process_was_killed(own_mesh: StartMesh) -> None:
    mesh = own_mesh()
    file_id = put(mesh, b"survives")
    for name in sorted(mesh.file.processes):
        pid = mesh.kill_one(name)
        mesh.wait_restarted(name, pid, 3.0)
    deadline = time.monotonic() + 40
    while True:
        try:
            assert read(mesh, file_id) == b"survives"
            assert read(mesh, put(mesh, b"new")) == b"new"
            return
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
