"""A running element on each kind of store, and synchronous stubs of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.services import S3Account
from tests.support.storage_rig import Node, Rig


@pytest.fixture(params=["local", "seaweedfs", "rclone"])
async def element(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    database_url: str,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Node]:
    """A running element."""
    settings: dict[str, Any] = {}
    if request.param != "local":
        name = "rclone_s3" if request.param == "rclone" else "s3"
        account: S3Account = request.getfixturevalue(name)
        for key, value in account.environment().items():
            monkeypatch.setenv(key, value)
        settings = {"s3_endpoint_url": account.endpoint_url, "s3_bucket": account.bucket}
    rig = Rig(tmp_path, database_url=database_url, redis_url=redis_url, **settings)
    async with rig.running() as node:
        yield node


@pytest.fixture
async def local_element(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[Node]:
    """A running element on local files."""
    async with Rig(tmp_path, database_url=database_url, redis_url=redis_url).running() as node:
        yield node
