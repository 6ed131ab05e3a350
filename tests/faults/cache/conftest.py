"""Elements in processes of their own, on local files and on S3, shared by a module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.cache.element import ElementProcess
from tests.support.backdoor import Backdoor, S3Backdoor
from tests.support.services import PostgresProcess, S3Account, S3Process, ValkeyProcess
from tests.support.storage_rig import Rig


@contextmanager
def _running(
    folder: Path,
    postgres: PostgresProcess,
    valkey: ValkeyProcess,
    account: S3Account | None = None,
    store: Backdoor | None = None,
) -> Iterator[ElementProcess]:
    url = postgres.create_database()
    valkey.flush()
    rig = Rig(folder, database_url=url, redis_url=valkey.url)
    element = ElementProcess(rig, account.environment() if account else None, store)
    try:
        element.start()
        yield element
    finally:
        element.close()
        postgres.drop_database(url)


@pytest.fixture(scope="module")
def local_element(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresProcess, valkey: ValkeyProcess
) -> Iterator[ElementProcess]:
    """A running element on local files; every test leaves it running."""
    with _running(tmp_path_factory.mktemp("element"), postgres, valkey) as element:
        yield element


@pytest.fixture(scope="module")
def s3_element(
    tmp_path_factory: pytest.TempPathFactory,
    postgres: PostgresProcess,
    valkey: ValkeyProcess,
    s3_server: S3Process,
) -> Iterator[ElementProcess]:
    """The same on S3."""
    account = s3_server.create_bucket()
    store = S3Backdoor(s3_server.client(), account.bucket, "storage_element_01")
    with _running(tmp_path_factory.mktemp("element"), postgres, valkey, account, store) as element:
        yield element


@pytest.fixture(params=["local", "s3"])
def element(request: pytest.FixtureRequest) -> ElementProcess:
    """An element of each kind, with nothing in it."""
    found: ElementProcess = request.getfixturevalue(f"{request.param}_element")
    found.require_writable()
    found.empty()
    return found
