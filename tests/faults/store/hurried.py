"""A store on S3 that is given up soon."""

from __future__ import annotations

import asyncio

from mesh.errors import Unavailable
from storage_server.store.open import StoreConfig, open_store
from storage_server.store.port import Store
from tests.support.services import S3Account

DEADLINE = 0.6


def config(account: S3Account) -> StoreConfig:
    return StoreConfig(
        endpoint_url=account.endpoint_url,
        bucket=account.bucket,
        prefix="storage_element_01",
        access_key=account.access_key,
        secret_key=account.secret_key,
        deadline_seconds=DEADLINE,
        patient_seconds=2 * DEADLINE,
    )


async def opened(config: StoreConfig, seconds: float = 15.0) -> Store:
    """Open the store of a server that is well, however little of the machine it gets just now."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await open_store(config)
            except Unavailable:
                # It waited already.
                continue
