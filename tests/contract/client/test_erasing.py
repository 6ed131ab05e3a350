"""`artstore erase` asks before it does what nothing undoes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.client.fake_mesh import FakeMesh
from tests.contract.client.shell import Shell


@pytest.fixture
def shell(fake: FakeMesh, tmp_path: Path) -> Shell:
    return Shell(fake, tmp_path)


async def test_nothing_is_erased_while_nobody_can_be_asked(shell: Shell) -> None:
    asked = await shell.run("erase", "01a22104-6b9e-7ca1-9d71-22cc18c7201d", "--reason", "case")
    assert asked.code == 2
    assert "--yes" in asked.err


async def test_a_reason_is_asked_for(shell: Shell) -> None:
    asked = await shell.run("erase", "01a22104-6b9e-7ca1-9d71-22cc18c7201d", "--yes")
    assert asked.code == 2
    assert "--reason" in asked.err
