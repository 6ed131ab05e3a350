"""Which process may be a storage element: its account, its store, its host; the rest waits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from artstore.v1 import accounts_pb2, elements_pb2, tokens_pb2
from artstore_client.cli.element import state_of
from mesh.calls.status import from_rpc_error
from tests.support.running_admin import (
    ADMIN,
    EVERYBODY,
    OTHER_ELEMENTS,
    SECRET,
    SERVICE,
    USER,
    ManualClock,
    RunningAdmin,
    admin_database,
    bearer,
    code_of,
    report,
    running_admin,
)
from tests.support.waiting import until

STORE = report().store_id
OTHER_STORE = "9d1c8a52-5f0e-4d0b-8a37-6a2f0c3b7e02"
ELSEWHERE = "10.0.0.9:8010"
QUERY = {**SERVICE, "client_id": "query-server"}
ONE_NAMESPACE = {**ADMIN, "client_id": "local-admin", "namespaces": ["team"], "first": False}
NAMED = {**SERVICE, "client_id": "files-upstairs", "storage_element_id": "se-06"}
ACCOUNTS = [*EVERYBODY, *OTHER_ELEMENTS, QUERY, ONE_NAMESPACE, NAMED]


@pytest_asyncio.fixture(loop_scope="session")
async def admin(
    database_url: str, tmp_path: Path, clock: ManualClock
) -> AsyncIterator[RunningAdmin]:
    async with running_admin(database_url, tmp_path, accounts=ACCOUNTS, now=clock) as running:
        yield running


async def tell(admin: RunningAdmin, name: str = "se-01", *, by: str = "", **said: Any) -> Any:
    """A report of that element by its own account, or by another."""
    request = elements_pb2.ReportStorageElementRequest(report=report(name, **said))
    caller = await admin.as_(by or f"storage-{name}")
    return (await admin.elements.ReportStorageElement(request, **caller)).element


async def create(admin: RunningAdmin, name: str, *, by: str = "admin", **said: Any) -> Any:
    request = elements_pb2.CreateStorageElementRequest(storage_element_id=name, **said)
    return await admin.elements.CreateStorageElement(request, **await admin.as_(by))


async def admit(admin: RunningAdmin, *, by: str = "admin", **what: str) -> Any:
    request = elements_pb2.AdmitStorageElementRequest(**{"storage_element_id": "se-01", **what})
    return (await admin.elements.AdmitStorageElement(request, **await admin.as_(by))).element


async def get(admin: RunningAdmin, name: str = "se-01") -> Any:
    request = elements_pb2.GetStorageElementRequest(storage_element_id=name)
    return (await admin.elements.GetStorageElement(request, **await admin.as_("admin"))).element


async def refusal(call: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return from_rpc_error(refused.value)


async def log_in(admin: RunningAdmin, client_id: str, secret: str) -> dict[str, Any]:
    return {"metadata": bearer(await admin.issue(client_id, secret)), "timeout": 10}


async def test_a_created_element_is_reported_by_its_own_account_alone(admin: RunningAdmin) -> None:
    made = await create(admin, "se-05", priority=7)
    assert made.client_id == "storage-se-05"
    assert not made.element.HasField("reported_at")
    assert (made.element.endpoint, made.element.healthy) == ("", False)
    caller = await log_in(admin, made.client_id, made.client_secret)
    request = elements_pb2.ReportStorageElementRequest(report=report("se-05", priority=900))
    answer = await admin.elements.ReportStorageElement(request, **caller)
    assert (answer.element.endpoint, answer.element.priority) == ("127.0.0.1:8010", 7)
    assert answer.element.healthy
    for other in ("storage-se-01", "query-server"):
        error = await refusal(tell(admin, "se-05", by=other, used_bytes=9))
        assert error.reason == "ELEMENT_ACCOUNT"
        assert "ARTSTORE_CLIENT_ID" in error.message
    assert (await get(admin, "se-05")).used_bytes == 0


async def test_an_element_that_nobody_created_is_refused_and_says_what_to_do(
    admin: RunningAdmin,
) -> None:
    error = await refusal(tell(admin, "se-09", by="query-server"))
    assert error.reason == "ELEMENT_ACCOUNT"
    assert "artstore element add se-09" in error.message
    listing = elements_pb2.ListStorageElementsRequest()
    found = await admin.elements.ListStorageElements(listing, **await admin.as_("admin"))
    assert found.total_size == 0


async def test_an_account_of_the_bootstrap_file_may_name_its_element(admin: RunningAdmin) -> None:
    assert (await tell(admin, "se-06", by="files-upstairs")).healthy
    assert (await refusal(tell(admin, "se-06", by="storage-se-01"))).reason == "ELEMENT_ACCOUNT"


async def test_whoever_knows_the_store_id_is_nobody_without_the_account(
    admin: RunningAdmin,
) -> None:
    await tell(admin, used_bytes=1)
    stolen = {"store_id": STORE, "endpoint": "127.0.0.1:6666", "used_bytes": 2}
    for thief in ("query-server", "storage-se-02"):
        assert (await refusal(tell(admin, by=thief, **stolen))).reason == "ELEMENT_ACCOUNT"
    known = await get(admin)
    assert (known.endpoint, known.used_bytes, known.awaiting_endpoint) == ("127.0.0.1:8010", 1, "")


async def test_another_port_on_the_same_host_is_taken_without_a_word(admin: RunningAdmin) -> None:
    await tell(admin)
    moved = await tell(admin, endpoint="127.0.0.1:9999")
    assert (moved.endpoint, moved.awaiting_endpoint) == ("127.0.0.1:9999", "")


@pytest.mark.parametrize(
    ("admitted", "told", "waits"),
    [
        ("files.example.com:1", "FILES.example.com.:2", False),
        ("[::1]:1", "[0:0:0:0:0:0:0:1]:2", False),
        ("127.0.0.1:1", "[::ffff:127.0.0.1]:2", False),
        ("127.0.0.1:1", "localhost:1", True),
        ("files.example.com:1", "files.example.org:1", True),
        ("127.0.0.1:1", "127.0.0.2:1", True),
    ],
)
async def test_hosts_are_compared_as_written_and_names_are_not_resolved(
    admin: RunningAdmin, admitted: str, told: str, waits: bool
) -> None:
    await tell(admin, endpoint=admitted)
    known = await tell(admin, endpoint=told)
    assert (known.endpoint, known.awaiting_endpoint) == ((admitted, told) if waits else (told, ""))


async def test_another_host_waits_and_the_mesh_goes_on_with_the_admitted_one(
    admin: RunningAdmin, clock: ManualClock
) -> None:
    await tell(admin, used_bytes=1)
    waiting = await tell(admin, endpoint=ELSEWHERE, used_bytes=2)
    assert (waiting.endpoint, waiting.used_bytes) == ("127.0.0.1:8010", 1)
    assert waiting.awaiting_endpoint == ELSEWHERE
    # What waits is no sign of life of the one that was admitted.
    clock.advance(16)
    assert not (await tell(admin, endpoint=ELSEWHERE)).healthy
    for account in ("storage-se-01", "alice", "local-admin"):
        denied = await code_of(admit(admin, by=account, endpoint=ELSEWHERE))
        assert denied is grpc.StatusCode.PERMISSION_DENIED
    assert (await refusal(admit(admin, endpoint="10.0.0.8:8010"))).reason == "NOT_AWAITED"
    assert await code_of(admit(admin)) is grpc.StatusCode.INVALID_ARGUMENT

    admitted = await admit(admin, endpoint=ELSEWHERE)
    assert (admitted.endpoint, admitted.awaiting_endpoint) == (ELSEWHERE, "")
    assert not admitted.healthy
    assert await admit(admin, endpoint=ELSEWHERE) == admitted
    assert (await tell(admin, endpoint=ELSEWHERE, used_bytes=3)).healthy
    assert (await tell(admin)).awaiting_endpoint == "127.0.0.1:8010"


async def test_another_store_waits_is_refused_until_then_and_named(admin: RunningAdmin) -> None:
    await tell(admin)
    error = await refusal(tell(admin, store_id=OTHER_STORE, endpoint=ELSEWHERE))
    assert error.reason == "OTHER_STORE"
    assert "artstore element admit se-01" in error.message
    known = await get(admin)
    assert (known.awaiting_store_id, known.awaiting_endpoint) == (OTHER_STORE, ELSEWHERE)
    assert (known.store_id, known.endpoint) == (STORE, "127.0.0.1:8010")
    admitted = await admit(admin, store_id=OTHER_STORE)
    assert (admitted.store_id, admitted.awaiting_endpoint) == (OTHER_STORE, ELSEWHERE)
    assert (await admit(admin, endpoint=ELSEWHERE)).awaiting_endpoint == ""
    assert (await tell(admin, store_id=OTHER_STORE, endpoint=ELSEWHERE)).healthy
    # The old store is another one now.
    assert (await refusal(tell(admin))).reason == "OTHER_STORE"


async def test_of_two_with_one_name_the_admitted_one_counts_and_the_other_is_seen(
    admin: RunningAdmin, clock: ManualClock
) -> None:
    await tell(admin)
    for used in range(3):
        await tell(admin, endpoint=ELSEWHERE, used_bytes=99)
        known = await tell(admin, used_bytes=used)
        assert (known.used_bytes, known.awaiting_endpoint) == (used, ELSEWHERE)
    clock.advance(16)
    assert (await tell(admin)).awaiting_endpoint == ""


async def test_what_was_admitted_and_what_waits_outlive_a_restart(
    database_url: str, tmp_path: Path
) -> None:
    async with running_admin(database_url, tmp_path, accounts=ACCOUNTS) as admin:
        await tell(admin)
        await tell(admin, endpoint=ELSEWHERE)
        made = await create(admin, "se-05", endpoint="10.0.0.5:8010")
        assert made.element.endpoint == "10.0.0.5:8010"
    async with running_admin(database_url, tmp_path, accounts=ACCOUNTS) as admin:
        known = await get(admin)
        assert (known.endpoint, known.awaiting_endpoint) == ("127.0.0.1:8010", ELSEWHERE)
        request = elements_pb2.ReportStorageElementRequest(report=report("se-05"))
        caller = await log_in(admin, made.client_id, made.client_secret)
        first = (await admin.elements.ReportStorageElement(request, **caller)).element
        # The host that its creation named is not the one that it reports from.
        assert (first.endpoint, first.awaiting_endpoint) == ("", "127.0.0.1:8010")
        await admit(admin, storage_element_id="se-05", endpoint="127.0.0.1:8010")
        joined = (await admin.elements.ReportStorageElement(request, **caller)).element
        assert (joined.endpoint, joined.store_id) == ("127.0.0.1:8010", STORE)


async def test_an_admin_hears_of_an_admission_by_another(database_url: str, tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    async with (
        running_admin(database_url, folders[0], accounts=ACCOUNTS) as one,
        running_admin(database_url, folders[1], accounts=ACCOUNTS) as two,
    ):
        await tell(one)
        await tell(one, endpoint=ELSEWHERE)
        # Written down by the first within two seconds; the second reads it when it is asked.
        while True:
            try:
                admitted = await admit(two, endpoint=ELSEWHERE)
                break
            except grpc.aio.AioRpcError as error:
                assert from_rpc_error(error).reason in ("NOT_AWAITED", "NOT_FOUND")
        assert admitted.endpoint == ELSEWHERE
        while (known := await get(one)).endpoint != ELSEWHERE:
            await tell(one, endpoint=ELSEWHERE)
        assert known.awaiting_endpoint == ""


async def test_an_element_has_one_account_and_gets_a_new_one_when_that_is_gone(
    admin: RunningAdmin,
) -> None:
    await tell(admin)
    assert await code_of(create(admin, "se-01")) is grpc.StatusCode.ALREADY_EXISTS
    delete = accounts_pb2.DeleteServiceAccountRequest(client_id="storage-se-01")
    await admin.accounts.DeleteServiceAccount(delete, **await admin.as_("admin"))
    with pytest.raises(grpc.aio.AioRpcError):
        while True:
            # Its token lives on; admin hears within two seconds that the account does not.
            await tell(admin)
    made = await create(admin, "se-01")
    caller = await log_in(admin, made.client_id, made.client_secret)
    request = elements_pb2.ReportStorageElementRequest(report=report())
    assert (await admin.elements.ReportStorageElement(request, **caller)).element.healthy


@pytest.mark.parametrize(
    ("said", "by", "code"),
    [
        ({"name": "SE 5"}, "admin", grpc.StatusCode.INVALID_ARGUMENT),
        ({"name": "x" * 33}, "admin", grpc.StatusCode.INVALID_ARGUMENT),
        ({"name": "se-05", "endpoint": "nowhere"}, "admin", grpc.StatusCode.INVALID_ARGUMENT),
        ({"name": "se-05", "priority": -1}, "admin", grpc.StatusCode.INVALID_ARGUMENT),
        ({"name": "se-05", "failure_domain": "a"}, "admin", grpc.StatusCode.UNIMPLEMENTED),
        ({"name": "se-05"}, "local-admin", grpc.StatusCode.PERMISSION_DENIED),
        ({"name": "se-05"}, "storage-se-01", grpc.StatusCode.PERMISSION_DENIED),
        ({"name": "se-05"}, "alice", grpc.StatusCode.PERMISSION_DENIED),
    ],
)
async def test_what_cannot_be_created(
    admin: RunningAdmin, said: dict[str, Any], by: str, code: grpc.StatusCode
) -> None:
    name = said.pop("name")
    assert await code_of(create(admin, name, by=by, **said)) is code


async def test_an_account_of_a_server_may_not_become_an_elements_by_its_name(
    database_url: str, tmp_path: Path
) -> None:
    """Only the bootstrap file and CreateStorageElement bind; a name given later does not."""
    async with running_admin(database_url, tmp_path, accounts=[ADMIN, USER]) as admin:
        request = accounts_pb2.CreateServiceAccountRequest(
            client_id="storage-se-07", role=accounts_pb2.ROLE_SERVICE
        )
        made = await admin.accounts.CreateServiceAccount(request, **await admin.as_("admin"))
        caller = await log_in(admin, "storage-se-07", made.client_secret)
        told = elements_pb2.ReportStorageElementRequest(report=report("se-07"))
        error = await refusal(admin.elements.ReportStorageElement(told, **caller))
        assert error.reason == "ELEMENT_ACCOUNT"
        created = await create(admin, "se-07")
        assert created.client_id.startswith("storage-se-07-")


async def test_the_audience_of_a_token_is_everywhere_or_one_element(admin: RunningAdmin) -> None:
    async def issue(audience: str) -> Any:
        request = tokens_pb2.IssueTokenRequest(
            client_id="query-server", client_secret=SECRET, audience=audience
        )
        return await admin.tokens.IssueToken(request, timeout=10)

    assert await admin.accepts((await issue("")).access_token)
    assert await admin.accepts((await issue("artstore")).access_token)
    assert not await admin.accepts((await issue("artstore/se-01")).access_token)
    for wrong in ("artstore/", "artstore/SE", "elsewhere", "artstore/se-01/x"):
        assert await code_of(issue(wrong)) is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_element_whose_account_is_suspended_or_deleted_is_sent_nothing(
    admin: RunningAdmin,
) -> None:
    first = await tell(admin, "se-02")
    assert (first.endpoint, first.client_id) == ("127.0.0.1:8010", "storage-se-02")
    boss, named = await admin.as_("admin"), {"client_id": "storage-se-02"}
    suspend = accounts_pb2.SuspendServiceAccountRequest(**named)
    await admin.accounts.SuspendServiceAccount(suspend, **boss)

    async def is_called(endpoint: str) -> bool:
        known = await get(admin, "se-02")
        assert known.healthy == bool(known.endpoint)
        return bool(known.endpoint == endpoint)

    await until(lambda: is_called(""))
    assert (await get(admin, "se-02")).store_id == STORE
    resume = accounts_pb2.ResumeServiceAccountRequest(**named)
    await admin.accounts.ResumeServiceAccount(resume, **boss)
    await until(lambda: is_called("127.0.0.1:8010"))
    delete = accounts_pb2.DeleteServiceAccountRequest(**named)
    await admin.accounts.DeleteServiceAccount(delete, **boss)
    await until(lambda: is_called(""))
    known = await get(admin, "se-02")
    assert known.HasField("client_id")
    assert known.client_id == ""
    made = await create(admin, "se-02")
    assert made.element.client_id == made.client_id
    assert (await get(admin, "se-02")).endpoint == "127.0.0.1:8010"


async def test_an_element_of_before_that_no_account_was_bound_to_goes_on_and_is_told_of(
    admin: RunningAdmin, database_url: str
) -> None:
    await tell(admin, "se-02")
    async with admin_database(database_url) as connection:
        await connection.execute("UPDATE service_accounts SET storage_element_id = NULL")

    async def is_unbound() -> bool:
        return not (await get(admin, "se-02")).client_id

    await until(is_unbound)
    known = await get(admin, "se-02")
    assert (known.endpoint, known.healthy) == ("127.0.0.1:8010", True)
    assert "NO ACCOUNT" in state_of(known)
