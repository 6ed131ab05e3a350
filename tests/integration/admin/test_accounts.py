"""Accounts: made, listed, given new secrets, suspended; and who may do that."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import jwt
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from artstore.v1 import accounts_pb2
from mesh.calls.status import from_rpc_error
from mesh.identity.caller import Role
from mesh.identity.roles import roles_for
from mesh.postgres.urls import with_database
from tests.support.running_admin import (
    ADMIN,
    SECRET,
    USER,
    ManualClock,
    RunningAdmin,
    code_of,
    running_admin,
)


async def create(admin: RunningAdmin, **fields: Any) -> Any:
    request = accounts_pb2.CreateServiceAccountRequest(**fields)
    return await admin.accounts.CreateServiceAccount(request, **await admin.as_("admin"))


async def rotate(admin: RunningAdmin, client_id: str, overlap_seconds: int = 0) -> str:
    request = accounts_pb2.RotateServiceAccountRequest(
        client_id=client_id, overlap_seconds=overlap_seconds
    )
    answer = await admin.accounts.RotateServiceAccount(request, **await admin.as_("admin"))
    return str(answer.client_secret)


async def suspend(admin: RunningAdmin, client_id: str) -> Any:
    request = accounts_pb2.SuspendServiceAccountRequest(client_id=client_id)
    return await admin.accounts.SuspendServiceAccount(request, **await admin.as_("admin"))


async def resume(admin: RunningAdmin, client_id: str) -> Any:
    request = accounts_pb2.ResumeServiceAccountRequest(client_id=client_id)
    return await admin.accounts.ResumeServiceAccount(request, **await admin.as_("admin"))


def claims_of(token: str) -> dict[str, Any]:
    return dict(jwt.decode(token, options={"verify_signature": False}))


async def test_a_new_account_logs_in_with_the_secret_shown_once(
    shared_admin: RunningAdmin,
) -> None:
    made = await create(
        shared_admin,
        client_id="scanner",
        role=accounts_pb2.ROLE_USER,
        namespaces=["scans"],
        read_namespaces=["archive"],
        description="Сканер",
    )
    assert len(made.client_secret) == 43
    assert made.account.description == "Сканер"
    assert made.account.created_at == made.account.rotated_at
    claims = claims_of(await shared_admin.issue("scanner", made.client_secret))
    assert claims["ns_write"] == ["scans"]
    assert claims["ns_read"] == ["scans", "archive"]
    assert claims["role"] == "USER"


async def test_the_database_holds_no_secret(database_url: str, tmp_path: Path) -> None:
    async with running_admin(database_url, tmp_path) as admin:
        made = await create(admin, client_id="scanner", role=accounts_pb2.ROLE_USER)
        name = database_url.rpartition("/")[2] + "_admin"
        connection = await asyncpg.connect(with_database(database_url, name))
        try:
            rows = await connection.fetch("SELECT a::text AS row FROM service_accounts a")
        finally:
            await connection.close()
    dump = "\n".join(row["row"] for row in rows)
    assert "scanner" in dump
    assert dump.count("$argon2id$") == 5
    assert made.client_secret not in dump
    assert SECRET not in dump


async def test_without_a_name_the_server_makes_one(shared_admin: RunningAdmin) -> None:
    made = await create(shared_admin, role=accounts_pb2.ROLE_READONLY)
    assert made.account.client_id.startswith("readonly-")
    assert await shared_admin.issue(made.account.client_id, made.client_secret)


async def test_a_server_has_all_namespaces_unless_some_are_named(
    shared_admin: RunningAdmin,
) -> None:
    made = await create(shared_admin, role=accounts_pb2.ROLE_SERVICE)
    assert list(made.account.namespaces) == ["*"]
    made = await create(shared_admin, role=accounts_pb2.ROLE_SERVICE, namespaces=["scans"])
    assert list(made.account.namespaces) == ["scans"]


async def test_a_taken_name_is_refused(shared_admin: RunningAdmin) -> None:
    call = create(shared_admin, client_id="alice", role=accounts_pb2.ROLE_USER)
    assert await code_of(call) is grpc.StatusCode.ALREADY_EXISTS


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"client_id": "ab"}, "client_id"),
        ({"client_id": "A user"}, "client_id"),
        ({"client_id": "x" * 65}, "client_id"),
        ({"client_id": "new\0name"}, "client_id"),
        ({"role": accounts_pb2.ROLE_UNSPECIFIED}, "role"),
        ({"role": 99}, "role"),
        ({"namespaces": [""]}, "namespaces"),
        ({"namespaces": ["a*"]}, "namespaces"),
        ({"read_namespaces": ["a\0"]}, "read_namespaces"),
        ({"namespaces": [f"namespace-{n}" for n in range(1000)]}, "namespaces"),
        ({"description": "x" * 1025}, "description"),
        ({"description": "a\0b"}, "description"),
    ],
)
async def test_wrong_fields_are_named(
    shared_admin: RunningAdmin, fields: dict[str, Any], wrong: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await create(shared_admin, **{"role": accounts_pb2.ROLE_USER, **fields})
    error = from_rpc_error(refused.value)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.field == wrong  # type: ignore[attr-defined]


async def test_a_token_with_the_most_namespaces_allowed_is_accepted(
    shared_admin: RunningAdmin,
) -> None:
    names = [f"namespace-{n:04}" for n in range(110)]
    made = await create(shared_admin, role=accounts_pb2.ROLE_USER, namespaces=names)
    token = await shared_admin.issue(made.account.client_id, made.client_secret)
    assert await shared_admin.accepts(token)


async def test_pages_hold_every_account_once_and_no_secret(admin: RunningAdmin) -> None:
    names: list[str] = []
    request = accounts_pb2.ListServiceAccountsRequest(page_size=3)
    while True:
        page = await admin.accounts.ListServiceAccounts(request, **await admin.as_("auditor"))
        assert page.total_size == 4
        names += [account.client_id for account in page.accounts]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert names == ["admin", "alice", "auditor", "storage-se-01"]


@pytest.mark.parametrize("token", ["nonsense", "WyJhY2NvdW50cyIsMV0", "ÿ", "W10", "x" * 5000])
async def test_a_foreign_page_token_is_refused(shared_admin: RunningAdmin, token: str) -> None:
    request = accounts_pb2.ListServiceAccountsRequest(page_token=token)
    call = shared_admin.accounts.ListServiceAccounts(request, **await shared_admin.as_("admin"))
    assert await code_of(call) is grpc.StatusCode.INVALID_ARGUMENT


async def test_page_sizes_are_lowered_and_never_negative(shared_admin: RunningAdmin) -> None:
    caller = await shared_admin.as_("admin")
    request = accounts_pb2.ListServiceAccountsRequest(page_size=10**9)
    assert (await shared_admin.accounts.ListServiceAccounts(request, **caller)).accounts
    request = accounts_pb2.ListServiceAccountsRequest(page_size=-1)
    call = shared_admin.accounts.ListServiceAccounts(request, **caller)
    assert await code_of(call) is grpc.StatusCode.INVALID_ARGUMENT


async def test_rotation_without_overlap_ends_the_old_secret_at_once(admin: RunningAdmin) -> None:
    assert await admin.issue("alice")
    fresh = await rotate(admin, "alice")
    assert await code_of(admin.issue("alice")) is grpc.StatusCode.UNAUTHENTICATED
    assert await admin.issue("alice", fresh)


async def test_during_the_overlap_both_secrets_work_and_then_the_new_one(
    admin: RunningAdmin, clock: ManualClock
) -> None:
    fresh = await rotate(admin, "alice", overlap_seconds=3600)
    for _ in range(2):
        assert await admin.issue("alice")
        assert await admin.issue("alice", fresh)
    clock.advance(3601)
    assert await code_of(admin.issue("alice")) is grpc.StatusCode.UNAUTHENTICATED
    assert await admin.issue("alice", fresh)


async def test_a_second_rotation_ends_the_first_secret(admin: RunningAdmin) -> None:
    second = await rotate(admin, "alice", overlap_seconds=3600)
    third = await rotate(admin, "alice", overlap_seconds=3600)
    assert await code_of(admin.issue("alice")) is grpc.StatusCode.UNAUTHENTICATED
    assert await admin.issue("alice", second)
    assert await admin.issue("alice", third)


@pytest.mark.parametrize("seconds", [-1, 31 * 24 * 3600])
async def test_an_overlap_out_of_range_is_refused(shared_admin: RunningAdmin, seconds: int) -> None:
    code = await code_of(rotate(shared_admin, "alice", seconds))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_suspended_account_gets_no_token_until_it_is_resumed(
    admin: RunningAdmin,
) -> None:
    token = await admin.issue("alice")
    for _ in range(2):
        assert (await suspend(admin, "alice")).account.suspended
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await admin.issue("alice")
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert from_rpc_error(refused.value).reason == "ACCOUNT_SUSPENDED"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await admin.issue("alice", "wrong")
    assert from_rpc_error(refused.value).reason == "WRONG_CREDENTIALS"
    assert not await admin.accepts(token)

    for _ in range(2):
        assert not (await resume(admin, "alice")).account.suspended
    assert await admin.issue("alice")


async def test_the_last_admin_cannot_be_suspended(admin: RunningAdmin) -> None:
    assert await code_of(suspend(admin, "admin")) is grpc.StatusCode.FAILED_PRECONDITION
    made = await create(admin, client_id="second", role=accounts_pb2.ROLE_ADMIN)
    assert made.client_secret
    calls = (suspend(admin, "admin"), suspend(admin, "second"))
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(outcome, grpc.aio.AioRpcError) for outcome in ended) == 1


@pytest.mark.parametrize("client_id", ["nobody", "no such name", "a\0b"])
async def test_an_unknown_account_is_not_found(shared_admin: RunningAdmin, client_id: str) -> None:
    for call in (rotate, suspend, resume):
        assert await code_of(call(shared_admin, client_id)) is grpc.StatusCode.NOT_FOUND
        assert await code_of(call(shared_admin, "")) is grpc.StatusCode.INVALID_ARGUMENT


REQUESTS = {
    "CreateServiceAccount": accounts_pb2.CreateServiceAccountRequest(),
    "ListServiceAccounts": accounts_pb2.ListServiceAccountsRequest(),
    "RotateServiceAccount": accounts_pb2.RotateServiceAccountRequest(),
    "SuspendServiceAccount": accounts_pb2.SuspendServiceAccountRequest(),
    "ResumeServiceAccount": accounts_pb2.ResumeServiceAccountRequest(),
}


@pytest.mark.parametrize("client_id", ["alice", "auditor", "storage-se-01"])
@pytest.mark.parametrize("method", sorted(REQUESTS))
async def test_only_the_roles_of_the_table_may_touch_accounts(
    shared_admin: RunningAdmin, method: str, client_id: str
) -> None:
    role = {"alice": Role.USER, "auditor": Role.AUDITOR, "storage-se-01": Role.SERVICE}[client_id]
    allowed = role in roles_for(f"/artstore.v1.ServiceAccountService/{method}")
    assert allowed == ((role, method) == (Role.AUDITOR, "ListServiceAccounts"))
    call = getattr(shared_admin.accounts, method)(
        REQUESTS[method], **await shared_admin.as_(client_id)
    )
    if allowed:
        await call
    else:
        assert await code_of(call) is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("method", sorted(REQUESTS))
async def test_without_a_token_nobody_touches_accounts(
    shared_admin: RunningAdmin, method: str
) -> None:
    call = getattr(shared_admin.accounts, method)(REQUESTS[method], timeout=10)
    assert await code_of(call) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_restart_makes_only_the_accounts_that_are_missing(
    database_url: str, tmp_path: Path
) -> None:
    async with running_admin(database_url, tmp_path, accounts=[ADMIN, USER]) as admin:
        fresh = await rotate(admin, "alice")
    added = {**USER, "client_id": "bob"}
    async with running_admin(database_url, tmp_path, accounts=[ADMIN, USER, added]) as admin:
        assert await code_of(admin.issue("alice")) is grpc.StatusCode.UNAUTHENTICATED
        assert await admin.issue("alice", fresh)
        assert await admin.issue("bob")
        assert await admin.issue("admin")


async def update(admin: RunningAdmin, client_id: str, *paths: str, **fields: Any) -> Any:
    request = accounts_pb2.UpdateServiceAccountRequest(
        client_id=client_id,
        account=accounts_pb2.ServiceAccount(**fields),
        update_mask=FieldMask(paths=paths),
    )
    return await admin.accounts.UpdateServiceAccount(request, **await admin.as_("admin"))


async def delete(admin: RunningAdmin, client_id: str) -> Any:
    request = accounts_pb2.DeleteServiceAccountRequest(client_id=client_id)
    return await admin.accounts.DeleteServiceAccount(request, **await admin.as_("admin"))


async def get_account(admin: RunningAdmin, client_id: str, who: str = "auditor") -> Any:
    request = accounts_pb2.GetServiceAccountRequest(client_id=client_id)
    return (await admin.accounts.GetServiceAccount(request, **await admin.as_(who))).account


async def test_an_account_is_shown_changed_and_removed(shared_admin: RunningAdmin) -> None:
    made = await create(shared_admin, role=accounts_pb2.ROLE_READONLY, description="old")
    name = made.account.client_id
    assert await get_account(shared_admin, name) == made.account
    changed = await update(shared_admin, name, role=accounts_pb2.ROLE_AUDITOR, namespaces=["docs"])
    assert (changed.account.role, changed.account.description) == (
        accounts_pb2.ROLE_AUDITOR,
        "old",
    )
    assert list((await get_account(shared_admin, name)).namespaces) == ["docs"]
    # A mask clears what it names and the account leaves out.
    cleared = await update(shared_admin, name, "description", "namespaces")
    assert (cleared.account.description, list(cleared.account.namespaces)) == ("", [])
    await delete(shared_admin, name)
    for call in (get_account(shared_admin, name), delete(shared_admin, name)):
        with pytest.raises(grpc.aio.AioRpcError) as gone:
            await call
        assert gone.value.code() is grpc.StatusCode.NOT_FOUND
        assert gone.value.details() == f"there is no account {name}"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shared_admin.issue(name, made.client_secret)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_the_last_admin_stays_one(shared_admin: RunningAdmin) -> None:
    for call in (
        update(shared_admin, "admin", role=accounts_pb2.ROLE_USER),
        delete(shared_admin, "admin"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_what_of_an_account_cannot_be_changed_is_refused(shared_admin: RunningAdmin) -> None:
    for call in (
        update(shared_admin, "alice", "suspended", suspended=True),
        update(shared_admin, "alice"),
        update(shared_admin, "alice", "role"),
        update(shared_admin, "alice", namespaces=["a*b"]),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.aio.AioRpcError) as denied:
        await get_account(shared_admin, "admin", "alice")
    assert denied.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_an_account_that_an_admin_deleted_is_not_made_again_by_a_restart(
    database_url: str, tmp_path: Path
) -> None:
    element = {**USER, "client_id": "storage-se-02", "role": "SERVICE"}
    accounts = [ADMIN, USER, element]
    async with running_admin(database_url, tmp_path, accounts=accounts) as admin:
        for name in ("alice", "storage-se-02"):
            await delete(admin, name)
    async with running_admin(database_url, tmp_path, accounts=accounts) as admin:
        assert await admin.issue("admin")
        for name in ("alice", "storage-se-02"):
            assert await code_of(admin.issue(name)) is grpc.StatusCode.UNAUTHENTICATED
        made = await create(admin, client_id="alice", role=accounts_pb2.ROLE_USER)
        assert await admin.issue("alice", made.client_secret)


async def test_the_name_that_admin_calls_elements_by_is_nobodys(
    shared_admin: RunningAdmin,
) -> None:
    caller, named = await shared_admin.as_("admin"), {"client_id": "admin-server"}
    suspend = accounts_pb2.SuspendServiceAccountRequest(**named)
    for call in (
        create(shared_admin, role=accounts_pb2.ROLE_USER, **named),
        shared_admin.accounts.SuspendServiceAccount(suspend, **caller),
        delete(shared_admin, "admin-server"),
    ):
        assert await code_of(call) is grpc.StatusCode.FAILED_PRECONDITION
