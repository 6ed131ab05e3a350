"""What is made on an S3 server that honours conditions: never over what another one has made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from mesh.errors import Aborted, Unavailable
from storage_server.store.open import StoreConfig, open_store
from storage_server.store.port import Stage, Store
from storage_server.store.s3_client import S3Client
from tests.support.backdoor import S3Backdoor
from tests.support.blobs import BLOB, MIB, feed, read, sealed, some_bytes, store_blob
from tests.support.s3_proxy import Request, S3Proxy, s3_proxy
from tests.support.services import S3Account, S3Process

PREFIX = "storage_element_01"
SIDECAR = BLOB + ".attr.json"
SIZES = [1000, 9 * MIB]


@pytest.fixture
async def proxy(s3: S3Account) -> AsyncIterator[S3Proxy]:
    async with s3_proxy(s3.endpoint_url) as made:
        yield made


@pytest.fixture
async def store(s3: S3Account, proxy: S3Proxy) -> AsyncIterator[Store]:
    opened = await open_store(
        StoreConfig(
            endpoint_url=proxy.endpoint_url,
            bucket=s3.bucket,
            prefix=PREFIX,
            access_key=s3.access_key,
            secret_key=s3.secret_key,
        )
    )
    proxy.requests.clear()
    yield opened
    await opened.close()


@pytest.fixture
def others(s3_server: S3Process, s3: S3Account) -> S3Backdoor:
    """What another process does."""
    return S3Backdoor(s3_server.client(), s3.bucket, PREFIX)


def conditions(requests: list[Request], path: str) -> list[tuple[str, str]]:
    """If-None-Match and If-Match of each request that makes the object."""
    return [
        (found.headers.get("if-none-match", ""), found.headers.get("if-match", ""))
        for found in requests
        if found.target.partition("?")[0].endswith(f"/{PREFIX}/{path}")
        and (found.completes or (found.method == "PUT" and "partNumber" not in found.target))
    ]


async def test_everything_is_made_under_a_condition(store: Store, proxy: S3Proxy) -> None:
    assert store.conditional_put
    first = await store.write_sidecar(SIDECAR, b"one", expected=None)
    await store.write_sidecar(SIDECAR, b"two", expected=first)
    assert conditions(proxy.requests, SIDECAR) == [("*", ""), ("", f'"{first.etag}"')]
    for size in SIZES:
        path = f"{BLOB}-{size}"
        stage = await store.open_stage(path, key=f"upload-{size}")
        await feed(stage, some_bytes(size))
        await stage.seal()
        await stage.place()
        assert conditions(proxy.requests, path) == [("*", "")]
    assert len(proxy.completions()) == 1


async def _fed(store: Store, data: bytes) -> Stage:
    stage = await store.open_stage(BLOB, key="upload-1")
    await feed(stage, data)
    return stage


@pytest.mark.parametrize("size", SIZES)
async def test_blob_of_another_process_with_its_sidecar_is_never_written_over(
    store: Store, others: S3Backdoor, size: int
) -> None:
    stage = await _fed(store, some_bytes(size))
    others.write(BLOB, b"theirs")
    others.write(SIDECAR, b"{}")
    with pytest.raises(Aborted) as error:
        await stage.seal()
    assert error.value.reason == "TAKEN_OVER"
    await stage.discard()
    assert others.all() == {BLOB, SIDECAR}
    assert others.read(BLOB) == b"theirs"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("same_size", [True, False])
async def test_blob_that_an_earlier_try_has_left_is_written_over(
    store: Store, others: S3Backdoor, size: int, same_size: bool
) -> None:
    data = some_bytes(size)
    stage = await _fed(store, data)
    others.write(BLOB, b"x" * (size if same_size else size - 1))
    assert await stage.seal() == sealed(data)
    await stage.place()
    assert await read(store) == data


@pytest.mark.parametrize("size", SIZES)
async def test_the_same_blob_made_by_an_earlier_try_is_taken(
    store: Store, others: S3Backdoor, proxy: S3Proxy, size: int
) -> None:
    data = some_bytes(size)
    await store_blob(store, data)
    proxy.requests.clear()
    stage = await _fed(store, data)
    assert await stage.seal() == sealed(data)
    await stage.place()
    assert len(conditions(proxy.requests, BLOB)) == 1
    assert others.read(BLOB) == data


async def test_sidecar_outlives_a_writer_that_is_gone_before_it_sends_the_new_one(
    store: Store, proxy: S3Proxy, others: S3Backdoor
) -> None:
    first = await store.write_sidecar(SIDECAR, b"one", expected=None)
    proxy.cut_off = SIDECAR
    with pytest.raises(Unavailable):
        await store.write_sidecar(SIDECAR, b"two", expected=first)
    proxy.cut_off = ""
    assert others.read(SIDECAR) == b"one"


async def _part_that_never_comes(client: Any, bucket: str, upload_id: str) -> None:
    """What a writer leaves that is killed between head and body of the first part."""
    params = {
        "Bucket": bucket,
        "Key": f"{PREFIX}/{BLOB}",
        "UploadId": upload_id,
        "PartNumber": 1,
    }
    url = urlsplit(client.generate_presigned_url("upload_part", Params=params))
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: 9\r\n\r\n"
    writer.write(head.encode())
    writer.write_eof()
    async with asyncio.timeout(10):
        await reader.read()
    writer.close()


@pytest.mark.parametrize("before", [True, False])
async def test_an_upload_goes_on_though_a_part_was_also_sent_by_a_writer_that_was_killed(
    store: Store, s3: S3Account, s3_server: S3Process, before: bool
) -> None:
    client, data = s3_server.client(), some_bytes(17 * MIB)
    stage = await store.open_stage(BLOB, key="upload-1")
    await feed(stage, data[: 9 * MIB])
    state = await stage.checkpoint()
    assert state.parts
    await stage.close()
    await _part_that_never_comes(client, s3.bucket, state.key)
    if before:
        await asyncio.to_thread(
            client.upload_part,
            Bucket=s3.bucket,
            Key=f"{PREFIX}/{BLOB}",
            UploadId=state.key,
            PartNumber=1,
            Body=data[: state.committed_size_bytes],
        )
    again = await store.open_stage(BLOB, resume=state)
    assert again.offset == state.committed_size_bytes
    await feed(again, data[again.offset :])
    assert await again.seal() == sealed(data)
    await again.place()
    assert await read(store, BLOB) == data


async def test_a_copy_that_is_not_whole_takes_nothing_away(
    store: Store, others: S3Backdoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = some_bytes(1000)
    await store_blob(store, data)

    async def half_a_copy(*_: object, **__: object) -> dict[str, Any]:
        others.write(f"{BLOB}-2", data[:500])
        return {}

    monkeypatch.setattr(S3Client, "call_once", half_a_copy)
    with pytest.raises(Unavailable):
        await store.rename(BLOB, f"{BLOB}-2")
    assert others.read(BLOB) == data
