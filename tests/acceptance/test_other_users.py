"""Another account of the machine reads nothing of a mesh, and changes nothing."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from launch import processes
from launch.postgres import SERVERS_ROLE, SUPERUSER
from tests.support.mesh import MeshProcess
from tests.support.outside import Outside

STRANGER = Path(__file__).with_name("stranger.py")
# Of nobody, so that not even a group of this machine helps.
UID = "54321"
AUTHENTICATION_BY_SCRAM = "R\0\0\0\x17\0\0\0\nSCRAM-SHA-256"


@pytest.fixture
def mesh(mesh_local: MeshProcess) -> Iterator[MeshProcess]:
    """The shared mesh in a folder that everybody may enter, with a file in it."""
    with Outside(mesh_local.file) as outside:
        outside.upload(b"for one's own eyes", "private.txt")
    above = mesh_local.data_dir.parent
    mode = stat.S_IMODE(above.stat().st_mode)
    above.chmod(0o755)
    yield mesh_local
    above.chmod(mode)


def members(mesh: MeshProcess) -> list[psutil.Process]:
    """The launcher and all below it."""
    return processes.family(mesh.pid)


def tried(mesh: MeshProcess) -> dict[str, Any]:
    """What a stranger gets at who knows each path of the mesh."""
    everything = sorted(mesh.data_dir.rglob("*"))
    proc = [f"/proc/{member.pid}/{name}" for member in members(mesh) for name in ("environ", "mem")]
    # Where PostgreSQL's processes share what they have read.
    proc += map(str, Path("/dev/shm").glob("PostgreSQL.*"))
    sockets = [str(path) for path in everything if path.is_socket()]
    assert sockets, "PostgreSQL's is there"
    given = {
        "paths": [str(path) for path in everything if path.is_file()] + proc,
        "folders": [str(path) for path in (mesh.data_dir, *everything) if path.is_dir()],
        "sockets": sockets,
        "postgres": urlsplit(mesh.file.database_url).port,
        "users": [SUPERUSER, SERVERS_ROLE],
        "valkey": urlsplit(mesh.file.redis_url).port,
    }
    assert any("private_" in path and path.endswith(".attr.json") for path in given["paths"])
    done = subprocess.run(
        [sys.executable, "-IS", str(STRANGER), UID],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_another_account_reads_and_writes_nothing_and_is_asked_for_a_password_everywhere(
    mesh: MeshProcess,
) -> None:
    assert os.geteuid() == 0, "only root can become somebody else"
    found = tried(mesh)
    postgres, valkey = found.pop("postgres"), found.pop("valkey")
    assert not any(found.values()), found
    assert all(answer.startswith(AUTHENTICATION_BY_SCRAM) for answer in postgres)
    assert all(answer.startswith("-NOAUTH") for answer in valkey)


def test_what_lies_in_the_data_folder_is_closed_by_itself_too(mesh: MeshProcess) -> None:
    """As where the folder is one that can't be closed."""
    mesh.data_dir.chmod(0o777 | stat.S_ISVTX)
    try:
        found = tried(mesh)
    finally:
        mesh.data_dir.chmod(0o700)
        (mesh.data_dir / "planted").rmdir()
    assert found["read"] == found["written"] == found["removed"] == found["reached"] == []
    assert found["listed"] == found["made"] == [str(mesh.data_dir)]


def test_no_argument_of_a_process_is_a_secret(mesh: MeshProcess) -> None:
    accounts = json.loads((mesh.data_dir / "credentials.json").read_text())["accounts"]
    secrets = [account["client_secret"] for account in accounts]
    secrets += [str(urlsplit(mesh.file.database_url).password)]
    secrets += [str(urlsplit(mesh.file.redis_url).password)]
    told = "\n".join(" ".join(member.cmdline()) for member in members(mesh))
    assert "postgres" in told
    assert [secret for secret in secrets if secret in told] == []
