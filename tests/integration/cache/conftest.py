"""The rig on a local folder, and on S3."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage_server.store.local import LocalStore
from storage_server.store.s3 import S3Store
from storage_server.store.s3_config import S3Config
from tests.integration.cache.backdoor import LocalBackdoor, S3Backdoor
from tests.integration.cache.rig import CacheRig, running_rig
from tests.services import S3Account, S3Process

FOLDER = "storage_element_01"


@pytest.fixture
async def local_rig(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[CacheRig]:
    """On a local folder."""
    root = tmp_path / FOLDER
    store = await LocalStore.open(root)
    try:
        async with running_rig(store, LocalBackdoor(root), database_url, redis_url) as made:
            yield made
    finally:
        await store.close()


@pytest.fixture
async def s3_rig(
    s3_server: S3Process, s3: S3Account, database_url: str, redis_url: str
) -> AsyncIterator[CacheRig]:
    """On S3."""
    config = S3Config(
        s3.endpoint_url, s3.bucket, FOLDER, s3.access_key, s3.secret_key, region=s3.region
    )
    store = await S3Store.open(config)
    backdoor = S3Backdoor(s3_server.client(), s3.bucket, FOLDER)
    try:
        async with running_rig(store, backdoor, database_url, redis_url) as made:
            yield made
    finally:
        await store.close()


@pytest.fixture(params=["local", "s3"])
def any_rig(request: pytest.FixtureRequest) -> CacheRig:
    """On both, for what depends on the store."""
    found: CacheRig = request.getfixturevalue(f"{request.param}_rig")
    return found


@pytest.fixture
def rig(local_rig: CacheRig) -> CacheRig:
    """On a local folder; a module may say that it wants both."""
    return local_rig
