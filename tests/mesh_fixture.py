"""The whole mesh as a fixture: `make run` in a folder of its own, on local files and on S3.

`mesh` runs a test on both; `mesh_local` and `mesh_s3` are shared by a whole test run, so a test
leaves them as it found them. `own_mesh` makes meshes for tests that break things.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from launch import topology
from tests.mesh_process import MeshProcess
from tests.services import S3Process

LOUD = ("error", "critical")


def loud_lines(mesh: MeshProcess) -> list[str]:
    """Return the lines of the servers' logs that are of level ERROR or above, or no log line."""
    found = []
    for plan in topology.SERVERS:
        for line in mesh.log(plan.name).splitlines():
            try:
                level = str(json.loads(line).get("level", "")).lower()
            except (ValueError, AttributeError):
                level = LOUD[0]
            if level in LOUD:
                found.append(f"{plan.name}: {line}")
    return found


@contextmanager
def running_mesh(environment: Mapping[str, str], *, quiet: bool) -> Iterator[MeshProcess]:
    """Run a mesh with nothing in it.

    Args:
        environment: more variables.
        quiet: fail at the end if a server logged an error.
    """
    with tempfile.TemporaryDirectory(prefix="artstore-mesh-") as folder:
        mesh = MeshProcess(Path(folder) / "data", environment=environment)
        try:
            mesh.start()
            yield mesh
            mesh.stop()
        finally:
            mesh.kill()
        if quiet and (loud := loud_lines(mesh)):
            raise AssertionError("servers logged errors:\n" + "\n".join(loud))


shared: list[MeshProcess] = []
"""The meshes for all tests that run; `tests/distribution.py` stops them after the last of these."""


@pytest.fixture(scope="session")
def mesh_local() -> Iterator[MeshProcess]:
    """A mesh on local files, for all tests; never stop a part of this one."""
    with running_mesh({}, quiet=True) as mesh:
        shared.append(mesh)
        yield mesh


@pytest.fixture(scope="session")
def mesh_s3(s3_server: S3Process) -> Iterator[MeshProcess]:
    """A mesh on S3, for all tests; never stop a part of this one."""
    with running_mesh(s3_server.create_bucket().environment(), quiet=True) as mesh:
        shared.append(mesh)
        yield mesh


@pytest.fixture(params=["local", "s3"])
def mesh(request: pytest.FixtureRequest) -> MeshProcess:
    """The shared mesh, once on local files and once on S3."""
    found: MeshProcess = request.getfixturevalue(f"mesh_{request.param}")
    return found


@pytest.fixture
def own_mesh() -> Iterator[Callable[..., MeshProcess]]:
    """Starts meshes that this test alone has: `own_mesh(ARTSTORE_RESTART="0")`."""
    with ExitStack() as meshes:

        def start(**environment: str) -> MeshProcess:
            return meshes.enter_context(running_mesh(environment, quiet=False))

        yield start
