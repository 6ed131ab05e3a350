"""Meshes that whole modules break and mend again: a start costs as much as a dozen faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.faults.killed_steps import TAKEN_UP_SOON
from tests.faults.stops import that_stop
from tests.support.caller import Caller
from tests.support.mesh import MeshProcess, running_mesh
from tests.support.services import S3Process


@pytest.fixture(scope="module")
def broken_local() -> Iterator[MeshProcess]:
    """A mesh on local files for one module, which leaves every part of it running."""
    with running_mesh({**TAKEN_UP_SOON, **that_stop()}, quiet=False) as mesh:
        yield mesh


@pytest.fixture(scope="module")
def broken_s3(s3_server: S3Process) -> Iterator[MeshProcess]:
    """The same on S3."""
    with running_mesh(s3_server.create_bucket().environment(), quiet=False) as mesh:
        yield mesh


@pytest.fixture(params=["local", "s3"])
def broken_mesh(request: pytest.FixtureRequest) -> MeshProcess:
    """`broken_local` and `broken_s3`, one after the other."""
    found: MeshProcess = request.getfixturevalue(f"broken_{request.param}")
    return found


@pytest.fixture
async def caller(mesh: MeshProcess) -> AsyncIterator[Caller]:
    """A caller of the shared mesh with the first account."""
    async with Caller(mesh.file) as found:
        yield found


@pytest.fixture
async def source(tmp_path: Path) -> Path:
    """A folder for files to upload."""
    folder = tmp_path / "source"
    await asyncio.to_thread(folder.mkdir)
    return folder
