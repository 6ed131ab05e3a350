"""What the lock files hold: all that the project needs, in one version, each file by its hash."""

from __future__ import annotations

import re
from importlib.metadata import distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.locks import PROJECT, ROOT, locked

NEEDED = PROJECT["project"]["dependencies"]
EXTRAS = PROJECT["project"]["optional-dependencies"]
LOCKS = {
    "server": NEEDED,
    "run": NEEDED + EXTRAS["embedded"],
    "dev": NEEDED + EXTRAS["embedded"] + EXTRAS["dev"],
    "build": PROJECT["build-system"]["requires"],
    **PROJECT["dependency-groups"],
}
INSTALLED = {canonicalize_name(one.name): one for one in distributions()}


@pytest.mark.parametrize("lock", LOCKS)
def test_what_the_project_needs_is_locked_in_a_version_that_it_takes(lock: str) -> None:
    versions = locked(lock)
    for need in map(Requirement, LOCKS[lock]):
        version = versions.get(canonicalize_name(need.name))
        assert version is not None, f"{need} is not in requirements/{lock}.lock: run make lock"
        assert need.specifier.contains(version), f"{need}: {version} is locked, run make lock"


def test_there_is_no_lock_of_anything_else() -> None:
    assert {file.stem for file in (ROOT / "requirements").iterdir()} == set(LOCKS)


def test_what_runs_is_what_was_tested() -> None:
    tested = locked("dev").items()
    assert locked("server").items() <= locked("run").items() <= tested
    assert locked("build").items() <= tested


def test_what_is_installed_here_is_what_is_locked() -> None:
    versions = locked("dev") | locked("hints")
    here = {name: found.version for name, found in INSTALLED.items() if name in versions}
    assert {name: versions[name] for name in here} == here


@pytest.mark.parametrize("lock", ["server", "run", "dev"])
def test_what_a_locked_package_needs_is_locked_too(lock: str) -> None:
    versions = locked(lock)
    for name in versions.keys() & INSTALLED.keys():
        for need in map(Requirement, INSTALLED[name].requires or []):
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                version = versions.get(canonicalize_name(need.name), "none")
                assert need.specifier.contains(version), f"{name} needs {need}: run make lock"


def test_make_installs_from_lock_files_alone() -> None:
    text = re.sub(r"\\\n\s*", "", (ROOT / "Makefile").read_text())
    installs = re.findall(r"/pip install.*", text)
    assert installs
    for install in installs:
        assert "--require-hashes --no-deps --only-binary :all: -r $<" in install
