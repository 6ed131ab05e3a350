"""Admin without its database: stopped, frozen, or not there yet when admin starts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from admin_server.registry.tables import registry_statements
from artstore.v1 import accounts_pb2, elements_pb2
from mesh.calls.status import DETAILS_KEY
from mesh.postgres.urls import database_name
from tests.support.running_admin import (
    EVERYBODY,
    OTHER_ELEMENTS,
    RunningAdmin,
    admin_database,
    report,
    running_admin,
)
from tests.support.services import PostgresProcess
from tests.support.waiting import until

RECOVERS_SECONDS = 30.0
# What a server of the mesh waits for admin.
ANSWERS_SECONDS = 2.0


async def refused(call: Awaitable[Any]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value


def retry_seconds(error: grpc.aio.AioRpcError) -> float:
    """What RetryInfo says; the detail must be there."""
    metadata = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(metadata[DETAILS_KEY])  # type: ignore[arg-type]
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details)
    return retry.retry_delay.ToNanoseconds() / 1e9


async def eventually(call: Callable[[], Awaitable[Any]]) -> Any:
    """The first answer that is not UNAVAILABLE."""
    deadline = time.monotonic() + RECOVERS_SECONDS
    while True:
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)


async def health_of(admin: RunningAdmin, service: str) -> int:
    stub: Any = health_pb2_grpc.HealthStub(admin.channel)
    request = health_pb2.HealthCheckRequest(service=service and f"artstore.v1.{service}")
    return int((await stub.Check(request, timeout=5)).status)


async def eventually_health(admin: RunningAdmin, service: str, wanted: int) -> None:
    async def answered() -> bool:
        return await health_of(admin, service) == wanted

    await until(answered, RECOVERS_SECONDS)


async def register(admin: RunningAdmin, name: str = "se-01", **changes: Any) -> Any:
    request = elements_pb2.ReportStorageElementRequest(report=report(name, **changes))
    return await admin.elements.ReportStorageElement(request, **await admin.as_(f"storage-{name}"))


async def listed(admin: RunningAdmin) -> Any:
    request = elements_pb2.ListStorageElementsRequest()
    return await admin.elements.ListStorageElements(request, **await admin.as_("alice"))


@pytest.fixture(params=["stopped", "frozen"])
def outage(
    request: pytest.FixtureRequest, own_postgres: PostgresProcess
) -> tuple[Callable[[], None], Callable[[], None]]:
    """(begin, end) of an outage of PostgreSQL."""
    if request.param == "stopped":
        return own_postgres.stop, own_postgres.start
    return own_postgres.freeze, own_postgres.thaw


async def test_without_the_database_only_what_needs_it_fails_and_comes_back(
    own_postgres: PostgresProcess,
    outage: tuple[Callable[[], None], Callable[[], None]],
    tmp_path: Path,
) -> None:
    begin, end = outage
    url, accounts = own_postgres.create_database(), [*EVERYBODY, *OTHER_ELEMENTS]
    async with running_admin(url, tmp_path, accounts=accounts) as admin:
        token = await admin.issue("alice")
        await admin.as_("storage-se-02")
        await register(admin, used_bytes=1)
        create = accounts_pb2.CreateServiceAccountRequest(role=accounts_pb2.ROLE_USER)
        as_admin = await admin.as_("admin")
        await listed(admin)

        await asyncio.to_thread(begin)
        try:
            for _ in range(3):
                started = time.monotonic()
                error = await refused(admin.issue("alice"))
                assert error.code() is grpc.StatusCode.UNAVAILABLE
                assert retry_seconds(error) > 0
                assert time.monotonic() - started < ANSWERS_SECONDS
            error = await refused(admin.accounts.CreateServiceAccount(create, **as_admin))
            assert error.code() is grpc.StatusCode.UNAVAILABLE

            assert (await admin.jwks())["keys"]
            assert await admin.accepts(token)
            assert (await register(admin, used_bytes=2)).element.used_bytes == 2
            assert (await listed(admin)).elements[0].healthy
            error = await refused(register(admin, "se-02"))
            assert error.code() is grpc.StatusCode.UNAVAILABLE

            not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
            serving = health_pb2.HealthCheckResponse.SERVING
            await eventually_health(admin, "ServiceAccountService", not_serving)
            for service in ("", "TokenService", "StorageElementService"):
                assert await health_of(admin, service) == serving
        finally:
            await asyncio.to_thread(end)

        assert await eventually(lambda: admin.issue("alice"))
        await eventually(lambda: register(admin, "se-02"))
        await eventually(lambda: admin.accounts.CreateServiceAccount(create, **as_admin))
        await eventually_health(admin, "ServiceAccountService", serving)


async def test_admin_restarts_without_its_database_and_recovers(
    own_postgres: PostgresProcess,
    outage: tuple[Callable[[], None], Callable[[], None]],
    tmp_path: Path,
) -> None:
    begin, end = outage
    url = own_postgres.create_database()
    async with running_admin(url, tmp_path) as admin:
        token = await admin.issue("alice")
        jwks = await admin.jwks()
        await register(admin, used_bytes=1)

    await asyncio.to_thread(begin)
    try:
        async with running_admin(url, tmp_path) as admin:
            assert await admin.jwks() == jwks
            as_alice = {"metadata": (("authorization", f"Bearer {token}"),), "timeout": 5}
            request = elements_pb2.ListStorageElementsRequest()
            # The token is good; what the table holds is not known yet, so nothing is invented.
            error = await refused(admin.elements.ListStorageElements(request, **as_alice))
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            error = await refused(admin.issue("alice"))
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            assert retry_seconds(error) > 0

            await asyncio.to_thread(end)
            assert await eventually(lambda: admin.issue("alice"))
            answer = await eventually(
                lambda: admin.elements.ListStorageElements(request, **as_alice)
            )
            assert answer.elements[0].used_bytes == 1
    finally:
        own_postgres.thaw()


async def test_a_first_start_before_postgresql_makes_everything_once_it_is_there(
    own_postgres: PostgresProcess, tmp_path: Path
) -> None:
    url = own_postgres.create_database()
    await asyncio.to_thread(own_postgres.stop)
    async with running_admin(url, tmp_path) as admin:
        error = await refused(admin.jwks())
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        error = await refused(admin.issue("admin"))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        await asyncio.to_thread(own_postgres.start)
        token = await eventually(lambda: admin.issue("admin"))
        # The elements are read a moment after the keys.
        assert await eventually(lambda: admin.accepts(token))


async def drop_tables(connection: Any) -> None:
    """Until no statement of the admin is in the way, at which PostgreSQL ends the drop."""
    while True:
        with suppress(asyncpg.DeadlockDetectedError):
            await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
            return


@pytest.mark.parametrize("of", ["database", "tables"])
async def test_an_admin_whose_records_were_dropped_ends_so_that_the_next_makes_them_anew(
    database_url: str, tmp_path: Path, of: str
) -> None:
    async with running_admin(database_url, tmp_path) as admin:
        await admin.issue("alice")
        assert not admin.server.gave_up.is_set()
        if of == "tables":
            async with admin_database(database_url) as connection:
                await drop_tables(connection)
        else:
            connection = await asyncpg.connect(database_url)
            name = database_name(database_url) + "_admin"
            await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
            await connection.close()
        async with asyncio.timeout(RECOVERS_SECONDS):
            await admin.server.gave_up.wait()
    async with running_admin(database_url, tmp_path) as admin:
        await eventually(lambda: admin.issue("alice"))


async def test_a_registry_that_was_made_again_when_all_was_dropped_holds_up_no_start(
    database_url: str, tmp_path: Path
) -> None:
    async with running_admin(database_url, tmp_path) as admin:
        await admin.issue("alice")
    async with admin_database(database_url) as connection:
        await drop_tables(connection)
        for statement in registry_statements():
            await connection.execute(statement)
    async with running_admin(database_url, tmp_path) as admin:
        await eventually(lambda: admin.issue("alice"))


async def test_with_a_database_that_lost_all_elements_none_is_denied_before_they_report(
    own_postgres: PostgresProcess, tmp_path: Path
) -> None:
    async with running_admin(own_postgres.create_database(), tmp_path) as admin:
        await register(admin)
    async with running_admin(own_postgres.create_database(), tmp_path) as admin:
        error = await refused(listed(admin))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert retry_seconds(error) > 0
        await register(admin)
        assert [one.storage_element_id for one in (await listed(admin)).elements] == ["se-01"]
