"""Each test of this folder runs on a local folder, on two S3 servers and in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage_server.store.port import Store
from tests.support.places import LocalPlace, MemoryPlace, Place, S3Place


@pytest.fixture(params=["local", "seaweedfs", "rclone", "memory"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    made: Place
    if request.param == "local":
        made = LocalPlace(tmp_path / "storage_element_01")
    elif request.param == "memory":
        made = MemoryPlace()
    else:
        server, account = {
            "seaweedfs": ("s3_server", "s3"),
            "rclone": ("rclone_server", "rclone_s3"),
        }[request.param]
        made = S3Place(
            request.param, request.getfixturevalue(server), request.getfixturevalue(account)
        )
    yield made
    await made.close()


@pytest.fixture
async def store(place: Place) -> Store:
    return await place.open()
