"""The mesh starts on any doorstep: whoever starts it, wherever, with whatever in the shell."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mesh import MeshProcess
from tests.support.services import clean_environment

COMMAND = [sys.executable, "-c", "from artstore_client.cli import main; main()"]
PROXIES = ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy")
# Nothing listens on port 9, and nothing of ours may ask there.
DEAD_PROXY = "http://127.0.0.1:9"
STRANGE_SHELL = {
    **dict.fromkeys(PROXIES, DEAD_PROXY),
    **{name.upper(): DEAD_PROXY for name in PROXIES},
    "no_proxy": "localhost",
    "LANG": "C",
    "LC_ALL": "xx_YY.UTF-8",
    "PGHOST": "db.invalid",
    "PGPORT": "1",
    "PGUSER": "somebody",
    "PGDATA": "/nowhere",
    "PGOPTIONS": "-c nonsense=1",
    "PGSSLMODE": "verify-full",
    "PGSERVICE": "none",
    "PGPASSFILE": "/nowhere/pgpass",
    "PGCLIENTENCODING": "nonsense",
    "PGTARGETSESSIONATTRS": "standby",
}


def artstore(mesh: MeshProcess, *arguments: str, cwd: Path) -> str:
    """Run the command with the shell of the mesh; fails if it fails."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=mesh.environment | {"ARTSTORE_MESH": str(mesh.mesh_file)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def goes_round(mesh: MeshProcess, folder: Path) -> bool:
    """Put a file in, find it, and get it back."""
    source = folder / "отчёт с пробелом.txt"
    source.write_bytes(os.urandom(100_000))
    file_id = artstore(mesh, "put", str(source), cwd=folder).split()[0]
    assert file_id in artstore(mesh, "search", "отчёт", cwd=folder)
    artstore(mesh, "get", file_id, "-o", "copy", cwd=folder)
    return (folder / "copy").read_bytes() == source.read_bytes()


@pytest.fixture
def private() -> Iterator[Path]:
    """A folder of mode 0700."""
    with tempfile.TemporaryDirectory(prefix="artstore-door-") as made:
        folder = Path(made) / "только моё"
        folder.mkdir(mode=0o700)
        yield folder


def test_mesh_starts_below_a_private_folder_with_everything_in_the_shell_against_it(
    private: Path,
) -> None:
    data = private / "данные архива и ещё одно длинное имя" / "с пробелами, и запятой" / "mesh"
    temporary = private / "tmp"
    temporary.mkdir()
    environment = {**STRANGE_SHELL, "TMPDIR": str(temporary)}
    mesh = MeshProcess(data, environment=environment, umask=0o077)
    data.parent.mkdir(parents=True)
    del mesh.environment["HOME"]
    try:
        mesh.start()
        assert goes_round(mesh, private)
        assert mesh.stop() == 0
    finally:
        mesh.kill()
    assert private.stat().st_mode & 0o777 == 0o700
    assert list(temporary.iterdir()) == []


def test_mesh_starts_for_an_ordinary_user(private: Path) -> None:
    assert os.geteuid() == 0, "only root can become somebody else"
    user = pwd.getpwnam("nobody")
    # Which may read what root has installed, wherever, and write no more than it is given.
    become = [
        "setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups",
        "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search",
        "--bounding-set=-all,+dac_read_search", "--securebits=+no_setuid_fixup", "--",
    ]  # fmt: skip
    for path in (private.parent, private):
        os.chown(path, user.pw_uid, user.pw_gid)
    home = {"HOME": "/nonexistent", "TMPDIR": "/nonexistent"}
    mesh = MeshProcess(private / "data", environment=home, before=become)
    try:
        mesh.start()
        assert goes_round(mesh, private)
        owners = {path.stat().st_uid for path in mesh.data_dir.rglob("*")}
        assert owners == {user.pw_uid}
        assert mesh.stop() == 0
    finally:
        mesh.kill()


def launched(
    data_dir: Path | str, *before: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the launcher where it can't start."""
    return subprocess.run(
        [*before, sys.executable, "-m", "launch"],
        env=clean_environment() | {"ARTSTORE_DATA_DIR": str(data_dir), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_data_folder_that_can_not_be_made_is_told_in_one_line(private: Path) -> None:
    (private / "file").touch()
    done = launched(private / "file" / "data")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert "not a directory" in line
    assert "ARTSTORE_DATA_DIR" in line


def test_folder_of_somebody_else_is_told_with_its_owner(private: Path) -> None:
    become = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups",
              "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--"]  # fmt: skip
    done = launched(private / "data", *become)
    (line,) = done.stderr.splitlines()
    assert f"{private} belongs to root" in line
    assert "ARTSTORE_DATA_DIR" in line


def test_port_in_use_is_told_with_the_program_that_has_it(private: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        offset = taken.getsockname()[1] - 8000
        done = launched(private / "data", ARTSTORE_PORT_OFFSET=str(offset))
    (line,) = [line for line in done.stdout.splitlines() if "did not start" in line]
    assert f"pid {os.getpid()}" in line
    assert "ARTSTORE_PORT_OFFSET" in line
