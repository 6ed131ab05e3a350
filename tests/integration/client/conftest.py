"""Clients of the real mesh."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from artstore_client import Client
from tests.support.mesh import MeshProcess


@pytest.fixture
def connect(tmp_path: Path) -> Callable[..., Client]:
    """Connects a client to a mesh; it keeps its upload states in the test's folder."""

    def open_client(mesh: MeshProcess, **options: Any) -> Client:
        return Client.connect(
            **{"mesh_file": mesh.mesh_file, "state_folder": tmp_path / "state", **options}
        )

    return open_client
