"""Fixtures that every test may use: real services, and fresh ones for tests that break them."""

from __future__ import annotations

import gc
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from launch.environment import is_libpq
from tests.distribution import (
    pytest_collection_modifyitems,
    pytest_itemcollected,
    pytest_runtest_teardown,
    pytest_xdist_make_scheduler,
    read_in_turn,
)
from tests.support import templates
from tests.support.mesh import mesh, mesh_local, mesh_s3, own_mesh
from tests.support.services import (
    PostgresProcess,
    RcloneProcess,
    S3Account,
    S3Process,
    ValkeyProcess,
    folder_of_databases,
    running,
)

# A shell that is set up for a proxy and another database: no test means those, and many talk to
# services on this machine by libraries that heed them.
for name in list(os.environ):
    if name.lower().endswith("_proxy") or is_libpq(name):
        del os.environ[name]

# How quickly examples come is the machine's, which does three other things at a time.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

# A traceback in colours takes half a second, in which the event loop of a server stands still.
structlog.get_config()["processors"][-1].exception_formatter = structlog.dev.plain_traceback

__all__ = [
    "mesh",
    "mesh_local",
    "mesh_s3",
    "own_mesh",
    "pytest_collection_modifyitems",
    "pytest_itemcollected",
    "pytest_runtest_teardown",
    "pytest_xdist_make_scheduler",
]


def pytest_configure(config: pytest.Config) -> None:
    """Heed Ctrl-C, as what tests start must: a shell's background jobs are told to ignore it."""
    read_in_turn(config)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Let the collector pass over thousands of tests: it took a tenth of all that they compute."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def service_folder() -> Iterator[Path]:
    """A short path, since Unix sockets live below it."""
    with tempfile.TemporaryDirectory(prefix="artstore-tests-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="session")
def database_folder() -> Iterator[Path]:
    """A short path for the files of PostgreSQL."""
    with tempfile.TemporaryDirectory(prefix="artstore-pg-", dir=folder_of_databases()) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres(database_folder: Path) -> Iterator[PostgresProcess]:
    """A PostgreSQL for all tests; never freeze or stop this one."""
    with running(PostgresProcess(database_folder / "postgres")) as server:
        templates.share(server.url)
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres: PostgresProcess) -> str:
    """URI of the shared server's database `postgres`."""
    return postgres.url


@pytest.fixture
def database_url(postgres: PostgresProcess) -> Iterator[str]:
    """URI of an empty database that is dropped after the test."""
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)


@pytest.fixture(scope="session")
def valkey(service_folder: Path) -> Iterator[ValkeyProcess]:
    """A Valkey for all tests; never freeze or stop this one."""
    with running(ValkeyProcess(service_folder / "valkey")) as server:
        yield server


@pytest.fixture
def redis_url(valkey: ValkeyProcess) -> str:
    """URL of a Valkey that has nothing in it."""
    valkey.flush()
    return valkey.url


@pytest.fixture(scope="session")
def s3_server(service_folder: Path) -> Iterator[S3Process]:
    """SeaweedFS for all tests; never freeze or stop this one."""
    with running(S3Process(service_folder / "s3")) as server:
        yield server


@pytest.fixture
def s3(s3_server: S3Process) -> S3Account:
    """An empty bucket on SeaweedFS, which honours conditional PUT."""
    return s3_server.create_bucket()


@pytest.fixture(scope="session")
def rclone_server(service_folder: Path) -> Iterator[RcloneProcess]:
    """rclone's S3 for all tests; never freeze or stop this one."""
    with running(RcloneProcess(service_folder / "rclone")) as server:
        yield server


@pytest.fixture
def rclone_s3(rclone_server: RcloneProcess) -> S3Account:
    """An empty bucket on rclone's S3, which ignores conditional PUT."""
    return rclone_server.create_bucket()


@pytest.fixture
def own_postgres() -> Iterator[PostgresProcess]:
    """A PostgreSQL that this test alone has: it may freeze, stop and kill it."""
    with (
        tempfile.TemporaryDirectory(prefix="artstore-pg-", dir=folder_of_databases()) as folder,
        running(PostgresProcess(Path(folder) / "own")) as server,
    ):
        yield server


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[ValkeyProcess]:
    """A Valkey that this test alone has: it may freeze, stop and kill it."""
    with running(ValkeyProcess(tmp_path / "own-valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def breakable_s3(service_folder: Path) -> Iterator[S3Process]:
    """Kept from test to test, since a start takes seconds; tests take `own_s3`."""
    with running(S3Process(service_folder / "breakable-s3")) as server:
        yield server


@pytest.fixture
def own_s3(breakable_s3: S3Process) -> S3Process:
    """A SeaweedFS that no other test uses meanwhile: this one may freeze, stop and kill it.

    It is mended for the next test; what is stored may be of earlier ones, so take a new bucket.
    """
    breakable_s3.mend()
    return breakable_s3
