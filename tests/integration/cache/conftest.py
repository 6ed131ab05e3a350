"""The rig on a local folder, and on S3."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage_server.store.local import LocalStore
from tests.integration.cache.backdoor import LocalBackdoor
from tests.integration.cache.rig import CacheRig, running_rig


@pytest.fixture
async def rig(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[CacheRig]:
    root = tmp_path / "storage_element_01"
    store = await LocalStore.open(root)
    try:
        async with running_rig(store, LocalBackdoor(root), database_url, redis_url) as made:
            yield made
    finally:
        await store.close()
