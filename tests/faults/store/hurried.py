"""A store on S3 that is given up soon."""

from __future__ import annotations

from storage_server.store.open import StoreConfig
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
