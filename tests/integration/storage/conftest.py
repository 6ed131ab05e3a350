"""Elements on local files and on S3."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.backdoor import S3Backdoor
from tests.support.services import PostgresProcess, S3Account, S3Process, ValkeyProcess
from tests.support.storage_rig import Node, Rig

PREFIX = "storage_element_01"


@pytest.fixture
def local_rig(tmp_path: Path, database_url: str, redis_url: str) -> Rig:
    """An element on local files, not started."""
    return Rig(tmp_path, database_url=database_url, redis_url=redis_url)


@pytest.fixture
def s3_rig(
    tmp_path: Path,
    database_url: str,
    redis_url: str,
    s3_server: S3Process,
    s3: S3Account,
    monkeypatch: pytest.MonkeyPatch,
) -> Rig:
    """An element on S3, not started."""
    _set_credentials(monkeypatch, s3)
    found = Rig(tmp_path, database_url=database_url, redis_url=redis_url, **_bucket(s3))
    found.bucket = S3Backdoor(s3_server.client(), s3.bucket, PREFIX)
    return found


@pytest.fixture
def rclone_rig(
    tmp_path: Path,
    database_url: str,
    redis_url: str,
    rclone_s3: S3Account,
    monkeypatch: pytest.MonkeyPatch,
) -> Rig:
    """An element on an S3 server that ignores conditional PUT, not started."""
    _set_credentials(monkeypatch, rclone_s3)
    return Rig(tmp_path, database_url=database_url, redis_url=redis_url, **_bucket(rclone_s3))


def _set_credentials(patch: pytest.MonkeyPatch, account: S3Account) -> None:
    patch.setenv("AWS_ACCESS_KEY_ID", account.access_key)
    patch.setenv("AWS_SECRET_ACCESS_KEY", account.secret_key)
    patch.setenv("AWS_DEFAULT_REGION", account.region)


def _bucket(account: S3Account) -> dict[str, str]:
    return {"s3_endpoint_url": account.endpoint_url, "s3_bucket": account.bucket}


@asynccontextmanager
async def _shared(
    folder: Path, postgres: PostgresProcess, valkey: ValkeyProcess, **settings: str
) -> AsyncIterator[Node]:
    url = postgres.create_database()
    try:
        rig = Rig(folder, database_url=url, redis_url=valkey.url, **settings)
        async with rig.running() as running:
            yield running
    finally:
        postgres.drop_database(url)


@pytest.fixture(scope="module")
async def shared_local(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresProcess, valkey: ValkeyProcess
) -> AsyncIterator[Node]:
    """A running element on local files that a module's tests share: each minds only its own."""
    async with _shared(tmp_path_factory.mktemp("shared"), postgres, valkey) as running:
        yield running


@pytest.fixture(scope="module")
async def shared_s3(
    tmp_path_factory: pytest.TempPathFactory,
    postgres: PostgresProcess,
    valkey: ValkeyProcess,
    s3_server: S3Process,
) -> AsyncIterator[Node]:
    """The same on S3."""
    account = s3_server.create_bucket()
    with pytest.MonkeyPatch.context() as patch:
        _set_credentials(patch, account)
        folder = tmp_path_factory.mktemp("shared")
        async with _shared(folder, postgres, valkey, **_bucket(account)) as running:
            yield running


@pytest.fixture(params=["local", "s3"])
def shared(request: pytest.FixtureRequest) -> Node:
    """A shared element of each kind."""
    found: Node = request.getfixturevalue(f"shared_{request.param}")
    return found


@pytest.fixture(params=["local", "s3"])
def rig(request: pytest.FixtureRequest) -> Rig:
    """Each test on both."""
    found: Rig = request.getfixturevalue(f"{request.param}_rig")
    return found


@pytest.fixture
async def node(rig: Rig) -> AsyncIterator[Node]:
    """A running element on both."""
    async with rig.running() as running:
        yield running


@pytest.fixture
async def local(local_rig: Rig) -> AsyncIterator[Node]:
    """A running element on local files."""
    async with local_rig.running() as running:
        yield running
