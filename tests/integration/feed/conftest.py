"""Small meshes: one that tests share, and one's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.integration.feed.small_mesh import SmallMesh, small_mesh
from tests.support.services import PostgresProcess, ValkeyProcess, running


@pytest.fixture(scope="module")
def mesh_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyProcess]:
    """Of a module's mesh alone: elements are found in it, and those of another mesh would be."""
    with running(ValkeyProcess(tmp_path_factory.mktemp("valkey"))) as server:
        yield server


@pytest.fixture(scope="module")
async def shared_mesh(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresProcess, mesh_valkey: ValkeyProcess
) -> AsyncIterator[SmallMesh]:
    url = postgres.create_database()
    async with small_mesh(tmp_path_factory.mktemp("mesh"), url, mesh_valkey.url) as mesh:
        yield mesh
    postgres.drop_database(url)


@pytest.fixture
async def mesh(
    shared_mesh: SmallMesh,
) -> AsyncIterator[SmallMesh]:
    """Shared; registry, index and element agree after each test."""
    yield shared_mesh
    await shared_mesh.agree()


@pytest.fixture
async def own_small_mesh(
    tmp_path: Path, database_url: str, own_valkey: ValkeyProcess
) -> AsyncIterator[SmallMesh]:
    """A mesh that this test alone has; registry, index and element agree after it."""
    async with small_mesh(tmp_path, database_url, own_valkey.url) as mesh:
        yield mesh
        await mesh.agree()
