"""The mesh of compose.yaml for all tests of this folder: `make test-compose` runs them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.containers.composed import Address, ComposedMesh, checkout, docker, run
from tests.support.mesh import REPOSITORY

UP_SECONDS = 800.0


def pytest_itemcollected(item: pytest.Item) -> None:
    """All tests of this folder need a Docker Engine, and take their time."""
    item.add_marker("containers")
    if item.get_closest_marker("timeout") is None:
        item.add_marker(pytest.mark.timeout(UP_SECONDS + 100))


def readme_blocks() -> list[str]:
    """The shell blocks of the README's section on containers, in order."""
    section = (REPOSITORY / "README.md").read_text().partition("## Containers")[2]
    shell = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return shell.findall(section.partition("\n## ")[0])


@pytest.fixture(scope="session")
def engine() -> str:
    """The version of the Docker Engine that answers."""
    answer = docker("version", "--format", "{{.Server.Version}}", check=False)
    assert answer.returncode == 0, (
        f"no Docker Engine answers: run make test-compose\n{answer.stderr.decode()}"
    )
    return answer.stdout.decode().strip()


@pytest.fixture(scope="session")
def composed(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposedMesh]:
    """The mesh as the README's three lines start it, for all tests; up after each of them."""
    mesh = checkout(tmp_path_factory.mktemp("composed"), Address.free(), "shared")
    try:
        first = readme_blocks()[0]
        done = run(["bash", "-euxc", first], cwd=mesh.folder, seconds=UP_SECONDS, check=False)
        printed = (done.stdout + done.stderr).decode(errors="replace")
        assert done.returncode == 0, f"{printed}\n{mesh.state()}"
        mesh.first_lines = done.stdout.decode()
        yield mesh
    finally:
        if (mesh.folder / ".env").exists():
            mesh.down("--volumes", "--timeout", "0")
