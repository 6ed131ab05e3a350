"""A mesh for the modules that look at cache operations while they run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.mesh import MeshProcess, running_mesh

# A DEEP check sleeps for some seconds after it hashed a blob of 4 MiB.
SCRUB_RATE = 256 * 1024


@pytest.fixture(scope="session")
def slow_mesh() -> Iterator[MeshProcess]:
    """A mesh whose DEEP checks take their time; never stop a part of this one."""
    environment = {"ARTSTORE_SCRUB_BYTES_PER_SECOND": str(SCRUB_RATE)}
    with running_mesh(environment, quiet=True) as mesh:
        yield mesh
