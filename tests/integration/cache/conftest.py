"""The rig on a local folder, and on S3."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.backdoor import LocalBackdoor, S3Backdoor
from tests.support.cache_rig import CacheRig, running_rig
from tests.support.services import S3Account, S3Process

FOLDER = "storage_element_01"


@pytest.fixture
async def local_rig(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[CacheRig]:
    """On a local folder."""
    async with running_rig(
        LocalBackdoor(tmp_path / FOLDER),
        database_url=database_url,
        redis_url=redis_url,
        data_dir=tmp_path,
        s3_endpoint_url="",
        s3_bucket="",
    ) as made:
        yield made


@pytest.fixture
async def s3_rig(
    tmp_path: Path,
    s3_server: S3Process,
    s3: S3Account,
    database_url: str,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[CacheRig]:
    """On S3."""
    for key, value in s3.environment().items():
        monkeypatch.setenv(key, value)
    async with running_rig(
        S3Backdoor(s3_server.client(), s3.bucket, FOLDER),
        database_url=database_url,
        redis_url=redis_url,
        data_dir=tmp_path,
        s3_endpoint_url=s3.endpoint_url,
        s3_bucket=s3.bucket,
    ) as made:
        yield made


@pytest.fixture(params=["local", "s3"])
def any_rig(request: pytest.FixtureRequest) -> CacheRig:
    """On both, for what depends on the store."""
    found: CacheRig = request.getfixturevalue(f"{request.param}_rig")
    return found


@pytest.fixture
def rig(local_rig: CacheRig) -> CacheRig:
    """On a local folder; a module may say that it wants both."""
    return local_rig
