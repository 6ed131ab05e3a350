"""`artstore put -r` of a folder that holds every kind of entry."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import every_entry
from tests.support.every_entry import MEBIBYTE
from tests.support.mesh import MeshProcess

COMMAND = (sys.executable, "-c", "from artstore_client.cli import main; main()")


def artstore(mesh: MeshProcess, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command with no more rights than the modes of files give."""
    return subprocess.run(
        [*every_entry.NO_MORE_THAN_MODES, *COMMAND, *arguments],
        env={
            **mesh.environment,
            "ARTSTORE_MESH": str(mesh.mesh_file),
            "XDG_CACHE_HOME": str(home / "cache"),
        },
        cwd=home,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    "sparse_bytes", [64 * MEBIBYTE, pytest.param(1024 * MEBIBYTE, marks=pytest.mark.full)]
)
def test_everything_that_can_be_stored_is_and_all_else_is_named(
    mesh_local: MeshProcess, tmp_path: Path, sparse_bytes: int
) -> None:
    top = tmp_path / "top"
    every_entry.make_every_entry(top, sparse_bytes=sparse_bytes)
    with every_entry.changing(top):
        put = artstore(mesh_local, tmp_path, "put", "-r", "top", "--json")
    assert put.returncode == 1
    stored = {file["attributes"]["path"]: file for file in map(json.loads, put.stdout.splitlines())}
    expected = {f"top/{name}": top / name for name in every_entry.STORED}
    shown = {
        path.encode("utf-8", "surrogateescape").decode("utf-8", "replace"): source
        for path, source in expected.items()
    }
    assert stored.keys() == shown.keys(), put.stderr
    for path, source in shown.items():
        with source.open("rb") as file:
            assert stored[path]["sha256"] == hashlib.file_digest(file, "sha256").hexdigest(), path
    *lines, summary = put.stderr.splitlines()
    for name in every_entry.LEFT_OUT:
        assert [line for line in lines if f"left out top/{name}: " in line], name
    for name in every_entry.FAILED:
        assert [line for line in lines if f"top/{name}: " in line], name
    left_out, failed = len(every_entry.LEFT_OUT), len(every_entry.FAILED)
    assert len(lines) == left_out + failed
    assert f"{len(shown)} of {len(shown) + failed} files" in summary
    assert f"{left_out} left out" in summary


def test_files_outside_of_the_folder_are_stored_whole_when_links_are_followed(
    mesh_local: MeshProcess, tmp_path: Path
) -> None:
    (tmp_path / "top").mkdir()
    every_entry.link_outside(tmp_path / "top")
    put = artstore(mesh_local, tmp_path, "put", "-r", "--follow-links", "top", "--json")
    assert put.returncode == 0, put.stderr
    stored = {file["attributes"]["path"]: file for file in map(json.loads, put.stdout.splitlines())}
    assert stored.keys() == {f"top/{name}" for name in every_entry.OUTSIDE}
    for name, path in every_entry.OUTSIDE.items():
        assert stored[f"top/{name}"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
