"""Completing an upload lasts as long as the server works on it, within the caller's deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from mesh.errors import Unavailable
from storage_server.store.port import Stage, Store
from tests.faults.store.hurried import DEADLINE, config, opened
from tests.support.blobs import BLOB, MIB, feed, read, sealed, some_bytes
from tests.support.s3_proxy import S3Proxy, s3_proxy
from tests.support.services import S3Account, S3Process

DATA = some_bytes(9 * MIB)
# What a server may be silent for while it completes 9 MiB.
PATIENCE = 2 * DEADLINE + 0.9
LONG = 1.5 * PATIENCE


@pytest.fixture
def account(own_s3: S3Process) -> S3Account:
    return own_s3.create_bucket()


@pytest.fixture
async def proxy(account: S3Account) -> AsyncIterator[S3Proxy]:
    async with s3_proxy(account.endpoint_url) as made:
        yield made


@pytest.fixture
async def store(account: S3Account, proxy: S3Proxy) -> AsyncIterator[Store]:
    made = await opened(replace(config(account), endpoint_url=proxy.endpoint_url))
    yield made
    await made.close()


@pytest.fixture
async def stage(store: Store) -> Stage:
    stage = await store.open_stage(BLOB, key="upload-1")
    await feed(stage, DATA)
    return stage


@pytest.mark.parametrize("seconds_left", [None, 2 * LONG])
async def test_server_that_works_long_is_waited_for(
    stage: Stage, store: Store, proxy: S3Proxy, seconds_left: float | None
) -> None:
    proxy.hold_completions.clear()
    asyncio.get_running_loop().call_later(LONG, proxy.hold_completions.set)
    began = time.monotonic()
    assert await stage.seal(seconds_left=seconds_left) == sealed(DATA)
    assert time.monotonic() - began >= LONG
    assert len(proxy.completions()) == 1
    await stage.place()
    assert await read(store) == DATA


async def test_object_that_is_there_is_not_waited_for(stage: Stage, proxy: S3Proxy) -> None:
    proxy.answer_completions.clear()
    assert await stage.seal(seconds_left=LONG) == sealed(DATA)
    assert len(proxy.completions()) == 1


async def test_server_that_is_not_done_by_the_callers_deadline_is_unavailable(
    stage: Stage, store: Store, proxy: S3Proxy
) -> None:
    proxy.hold_completions.clear()
    began = time.monotonic()
    with pytest.raises(Unavailable):
        await stage.seal(seconds_left=3.0)
    assert 2.0 <= time.monotonic() - began <= 3.0
    proxy.hold_completions.set()
    assert await stage.seal(seconds_left=LONG) == sealed(DATA)
    await stage.place()
    assert await read(store) == DATA


@pytest.mark.parametrize(("seconds_left", "longest"), [(1.5, 1.5), (None, PATIENCE + 3 * DEADLINE)])
async def test_frozen_server_is_unavailable_by_the_deadline_at_the_latest(
    stage: Stage, own_s3: S3Process, seconds_left: float | None, longest: float
) -> None:
    own_s3.freeze()
    began = time.monotonic()
    try:
        with pytest.raises(Unavailable):
            await stage.seal(seconds_left=seconds_left)
    finally:
        own_s3.thaw()
    assert time.monotonic() - began <= longest + 1.0
