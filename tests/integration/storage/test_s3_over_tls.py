"""S3 that speaks TLS: by an authority of one's own, and by no other."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.errors import Unavailable
from storage_server.store.open import StoreConfig, open_store
from tests.support.blobs import BLOB, MIB, read, some_bytes, store_blob
from tests.support.certificates import Authority
from tests.support.s3_proxy import s3_proxy
from tests.support.services import S3Account


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def config(s3: S3Account, authority: Authority) -> AsyncIterator[StoreConfig]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue())
    async with s3_proxy(s3.endpoint_url, context) as proxy:
        yield StoreConfig(
            endpoint_url=proxy.endpoint_url,
            bucket=s3.bucket,
            prefix="storage_element_01",
            access_key=s3.access_key,
            secret_key=s3.secret_key,
        )


async def test_a_named_authority_is_trusted(
    config: StoreConfig, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.file))
    assert config.endpoint_url.startswith("https://")
    store = await open_store(config)
    content = some_bytes(9 * MIB)
    await store_blob(store, content)
    assert await read(store, BLOB) == content
    await store.close()


async def test_a_certificate_of_another_authority_is_refused(
    config: StoreConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(Authority(tmp_path / "other").file))
    with pytest.raises(Unavailable, match="certificate"):
        await open_store(config)
