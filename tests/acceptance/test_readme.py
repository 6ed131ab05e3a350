"""What a newcomer is told to paste works when pasted: the README's lines and the launcher's."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.acceptance.readme import README, at_this_mesh
from tests.support.mesh import REPOSITORY, MeshProcess
from tests.support.services import clean_environment

SECONDS_PER_BLOCK = 180
PEOPLE = "## More than one person\n"


def shell_blocks(text: str) -> list[str]:
    """Return the blocks that are marked as shell, in order."""
    return re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    """The part of the README under that title."""
    return README.read_text().partition(title)[2].partition("\n## ")[0]


def hint_lines(output: str) -> list[str]:
    """Return the commands that the launcher printed when all answered."""
    shown = output.rpartition("in this folder:")[2].partition("Logs are in")[0]
    return [line for line in shown.splitlines() if line.strip()]


@pytest.fixture
def folder(mesh_local: MeshProcess, tmp_path: Path) -> Path:
    """A folder that looks like the checkout in which the mesh was started."""
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    (tmp_path / ".artstore").symlink_to(mesh_local.data_dir)
    shutil.copy(README, tmp_path)
    shutil.copytree(REPOSITORY / "docs", tmp_path / "docs")
    return tmp_path


def run(script: str, folder: Path) -> str:
    """Run a script as a shell would and return what it printed; fails if a line fails.

    What the user's cache folder remembers is that of the folder.
    """
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=clean_environment() | {"XDG_CACHE_HOME": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=SECONDS_PER_BLOCK,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_commands_of_the_readme_work(mesh_local: MeshProcess, folder: Path) -> None:
    blocks = shell_blocks(README.read_text().replace(section(PEOPLE), ""))
    assert len(blocks) == 5
    # One shell for all blocks, since a later one uses what an earlier one set.
    printed = run(at_this_mesh("\n".join(blocks), mesh_local), folder)
    assert "README.md" in printed
    assert "artstore.v1.StorageService" in printed
    assert (folder / "copy.md").read_bytes() == README.read_bytes()
    # "machine" was put, "machines" is searched for, and no time lies between.
    put = re.findall(r"^([0-9a-f-]{36})  (/usr/\S+\.txt)  ", printed, re.MULTILINE)
    assert len(put) == 20
    assert "20 of 20" in printed
    assert "architecture.md" in printed.partition("20 of 20")[2]
    found = (folder / "found.txt").read_bytes()
    assert found in {Path(path).read_bytes() for _, path in put}


def test_a_colleague_reads_one_namespace_and_no_other(
    mesh_local: MeshProcess, folder: Path
) -> None:
    made, used, changed, _ = shell_blocks(section(PEOPLE))
    run(".venv/bin/artstore put README.md", folder)
    printed = run(made, folder)
    secret = json.loads((folder / "anna.json").read_text())["client_secret"]
    assert secret not in printed
    assert re.search(r"^anna +readonly +docs +", printed, re.MULTILINE)
    listed, _, found = run(used.replace("\n", "\necho ---\n", 1), folder).partition("---")
    names = {line.split()[-1] for line in listed.splitlines()[2:]}
    assert names == {"operations.md"}
    assert "operations.md" in found
    as_anna = "ARTSTORE_MESH=anna.json .venv/bin/artstore"
    for refused in ("put README.md", "put --namespace docs README.md", "account list"):
        run(f"{as_anna} {refused} || [ $? = 4 ]", folder)
    assert "anna  removed" in run(changed, folder)
    assert json.loads((folder / "anna.json").read_text())["client_secret"] != secret
    run(f"{as_anna} ls || [ $? = 4 ]", folder)
    # Every server takes tokens of the new key at once.
    run(".venv/bin/artstore keys rotate && .venv/bin/artstore selftest", folder)


def test_who_deleted_a_file_is_one_command(mesh_local: MeshProcess, folder: Path) -> None:
    audited = shell_blocks(section(PEOPLE))[-1]
    stored = run(".venv/bin/artstore put README.md", folder).split()[0]
    run(f".venv/bin/artstore rm {stored}", folder)
    deadline = time.monotonic() + 20
    while "file.deleted" not in (printed := run(f"ID={stored}\n{audited}", folder)):
        assert time.monotonic() < deadline, printed
    assert re.search(rf" admin +file.deleted +{stored} +done", printed), printed
    assert "none altered, missing or added" in printed
    assert stored in (folder / "audit.jsonl").read_text()


def test_lines_printed_at_start_work(mesh_local: MeshProcess, folder: Path) -> None:
    lines = hint_lines(mesh_local.output)
    assert any("artstore put" in line for line in lines)
    assert any("grpcurl" in line for line in lines)
    printed = run("\n".join(lines), folder)
    assert "se-01" in printed


def test_two_commands_are_make_targets() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    for target in re.findall(r"`?make ([a-z-]+)", README.read_text()):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_variable_of_the_launcher_is_in_the_table() -> None:
    read = set(re.findall(r"ARTSTORE_[A-Z0-9_]+", (REPOSITORY / "launch/topology.py").read_text()))
    internal = {
        "ARTSTORE_ADMIN_DATABASE", "ARTSTORE_ADMIN_ENDPOINT", "ARTSTORE_BOOTSTRAP_FILE",
        "ARTSTORE_CAPACITY_BYTES", "ARTSTORE_CLIENT_ID", "ARTSTORE_CLIENT_SECRET",
        "ARTSTORE_ELEMENT_ID", "ARTSTORE_MODE", "ARTSTORE_PORT", "ARTSTORE_PRIORITY",
        "ARTSTORE_QUERY_DATABASE", "ARTSTORE_", "ARTSTORE_SE_",
    }  # fmt: skip
    table = set(re.findall(r"`(ARTSTORE_[A-Z0-9_]+)`", README.read_text()))
    assert read - internal <= table
