"""A mesh in memory for the client's contract tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.client.fake_mesh import FakeMesh, fake_mesh


@pytest.fixture
async def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeMesh]:
    """A fake mesh on a free port; no setting of the surrounding shell reaches the client."""
    for name in ("MESH", "TOKEN", "TLS", "TLS_CA_FILE", "TLS_CERT_FILE", "TLS_KEY_FILE"):
        monkeypatch.delenv(f"ARTSTORE_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    async with fake_mesh(tmp_path / "state") as mesh:
        yield mesh
