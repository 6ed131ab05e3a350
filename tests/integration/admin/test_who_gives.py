"""Who may change which accounts, by stubs: nobody gives or takes more than he has himself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from artstore.v1 import accounts_pb2
from mesh.calls.status import from_rpc_error
from tests.support.running_admin import RunningAdmin, bearer

ROLES = ("ADMIN", "AUDITOR", "SERVICE", "USER", "READONLY")
CHANGES: dict[str, Callable[[str], Any]] = {
    "UpdateServiceAccount": lambda name: accounts_pb2.UpdateServiceAccountRequest(
        client_id=name, account=accounts_pb2.ServiceAccount(description="mine")
    ),
    "RotateServiceAccount": lambda name: accounts_pb2.RotateServiceAccountRequest(client_id=name),
    "SuspendServiceAccount": lambda name: accounts_pb2.SuspendServiceAccountRequest(client_id=name),
    "ResumeServiceAccount": lambda name: accounts_pb2.ResumeServiceAccountRequest(client_id=name),
    "DeleteServiceAccount": lambda name: accounts_pb2.DeleteServiceAccountRequest(client_id=name),
}

# Why a token of an account that was ended is refused: by the change itself, or by every server.
ENDED = {"ACCOUNT_SUSPENDED", "TOKEN_WITHDRAWN"}


class Person:
    """Somebody with an account, and his calls."""

    def __init__(self, admin: RunningAdmin, name: str, secret: str, token: str) -> None:
        self.name, self.secret, self._token = name, secret, token
        self._admin = admin

    async def call(self, method: str, request: Any) -> Any:
        stub = getattr(self._admin.accounts, method)
        return await stub(request, metadata=bearer(self._token), timeout=10)

    async def create(self, role: str, *namespaces: str, **fields: Any) -> Any:
        request = accounts_pb2.CreateServiceAccountRequest(
            role=f"ROLE_{role}",  # type: ignore[arg-type]
            namespaces=namespaces,
            **fields,
        )
        return await self.call("CreateServiceAccount", request)

    async def update(self, name: str, *paths: str, **fields: Any) -> Any:
        request = accounts_pb2.UpdateServiceAccountRequest(
            client_id=name,
            account=accounts_pb2.ServiceAccount(**fields),
            update_mask=FieldMask(paths=paths),
        )
        return (await self.call("UpdateServiceAccount", request)).account

    async def get(self, name: str) -> Any:
        request = accounts_pb2.GetServiceAccountRequest(client_id=name)
        return (await self.call("GetServiceAccount", request)).account

    async def listed(self) -> set[str]:
        request = accounts_pb2.ListServiceAccountsRequest(page_size=1000)
        answer = await self.call("ListServiceAccounts", request)
        assert answer.total_size == len(answer.accounts)
        return {account.client_id for account in answer.accounts}


async def first_admin(admin: RunningAdmin) -> Person:
    return Person(admin, "admin", "", await admin.issue("admin"))


async def person(
    admin: RunningAdmin, role: str, *namespaces: str, by: Person | None = None, **fields: Any
) -> Person:
    """Somebody new, made by the first ADMIN if nobody else is named."""
    made = await (by or await first_admin(admin)).create(role, *namespaces, **fields)
    name, secret = made.account.client_id, made.client_secret
    return Person(admin, name, secret, await admin.issue(name, secret))


async def reason_of(call: Any) -> str:
    """Why a call is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return from_rpc_error(refused.value).reason


async def test_an_admin_of_one_namespace_makes_no_account_that_reaches_further(
    shared_admin: RunningAdmin,
) -> None:
    boss = await person(shared_admin, "ADMIN", "docs")
    for role in ROLES:
        for namespaces, reading in (
            (("*",), ()), (("mail",), ()), (("docs", "mail"), ()), ((), ()), (("docs",), ("mail",)),
        ):  # fmt: skip
            call = boss.create(role, *namespaces, read_namespaces=reading)
            assert await reason_of(call) == "NAMESPACE", (role, namespaces, reading)
        if role == "SERVICE":
            assert await reason_of(boss.create(role, "docs")) == "NAMESPACE"
        else:
            assert (await boss.create(role, "docs")).client_secret


async def test_an_admin_of_one_namespace_touches_no_account_that_reaches_further(
    shared_admin: RunningAdmin,
) -> None:
    boss = await person(shared_admin, "ADMIN", "docs")
    out_of_reach = [
        await person(shared_admin, "ADMIN", "*"),
        await person(shared_admin, "USER", "mail", read_namespaces=["docs"]),
        await person(shared_admin, "READONLY", "docs", read_namespaces=["mail"]),
        await person(shared_admin, "SERVICE", "docs"),
    ]
    colleague = await person(shared_admin, "ADMIN", "docs")
    for method, request in CHANGES.items():
        for other in out_of_reach:
            refused = boss.call(method, request(other.name))
            assert await reason_of(refused) == "NAMESPACE", (method, other.name)
        await boss.call(method, request(colleague.name))
    # Nothing of it happened: who has such an account still has it.
    for other in out_of_reach:
        assert await shared_admin.issue(other.name, other.secret)
        assert (await boss.get(other.name)).description == ""


async def test_an_update_gives_no_more_than_the_giver_has(shared_admin: RunningAdmin) -> None:
    boss = await person(shared_admin, "ADMIN", "docs")
    user = await person(shared_admin, "USER", "docs")
    for fields in (
        {"namespaces": ["*"]},
        {"namespaces": ["docs", "mail"]},
        {"read_namespaces": ["mail"]},
        {"role": accounts_pb2.ROLE_SERVICE},
        {"limits": accounts_pb2.AccountLimits(reserved_percent=50)},
    ):
        assert await reason_of(boss.update(user.name, **fields)) == "NAMESPACE", fields
        assert await reason_of(boss.update(boss.name, **fields)) == "NAMESPACE", fields
    # None named is `default`, which the giver has not.
    assert await reason_of(boss.update(user.name, "namespaces")) == "NAMESPACE"
    changed = await boss.update(user.name, role=accounts_pb2.ROLE_ADMIN)
    assert changed.role == accounts_pb2.ROLE_ADMIN


async def test_who_may_look_sees_all_accounts_that_reach_his_namespace(
    shared_admin: RunningAdmin,
) -> None:
    looker = await person(shared_admin, "AUDITOR", "docs")
    user = await person(shared_admin, "USER", "mail", read_namespaces=["docs"])
    assert await looker.listed() >= {user.name, looker.name, "admin", "storage-se-01"}
    assert list((await looker.get(user.name)).read_namespaces) == ["docs"]


async def test_accounts_of_other_namespaces_are_not_there(shared_admin: RunningAdmin) -> None:
    stranger = await person(shared_admin, "USER", "mail")
    of_default = await person(shared_admin, "USER")
    boss = await person(shared_admin, "ADMIN", "docs")
    for who in (boss, await person(shared_admin, "AUDITOR", "docs")):
        assert not await who.listed() & {stranger.name, of_default.name, "alice"}
        for hidden in (stranger, of_default):
            with pytest.raises(grpc.aio.AioRpcError) as unknown:
                await who.get(hidden.name)
            assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
    for method, request in CHANGES.items():
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await boss.call(method, request(stranger.name))
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND, method
    user = await person(shared_admin, "USER", "docs", read_namespaces=["payroll"])
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await boss.update(user.name, description="mine")
    assert "payroll" not in (refused.value.details() or "")
    both = await person(shared_admin, "AUDITOR", read_namespaces=["docs"])
    assert await both.listed() >= {of_default.name, user.name, "alice", "admin"}


async def test_a_token_that_its_owner_ended_gives_nothing_more(shared_admin: RunningAdmin) -> None:
    boss = await person(shared_admin, "ADMIN", "*")
    await boss.call("RotateServiceAccount", CHANGES["RotateServiceAccount"](boss.name))
    assert await reason_of(boss.create("USER", "docs")) == "TOKEN_WITHDRAWN"


async def test_who_was_suspended_can_not_undo_it_with_a_token_that_lives(
    shared_admin: RunningAdmin,
) -> None:
    first = await first_admin(shared_admin)
    for ending in ("SuspendServiceAccount", "DeleteServiceAccount"):
        rogue = await person(shared_admin, "ADMIN", "*")
        await first.call(ending, CHANGES[ending](rogue.name))
        for method in ("ResumeServiceAccount", "RotateServiceAccount"):
            request = CHANGES[method](rogue.name)
            assert await reason_of(rogue.call(method, request)) in ENDED
        assert await reason_of(rogue.create("ADMIN", "*")) in ENDED


async def test_who_was_made_smaller_gives_no_more_although_his_token_says_so(
    shared_admin: RunningAdmin,
) -> None:
    first = await first_admin(shared_admin)
    narrowed = await person(shared_admin, "ADMIN", "*")
    await first.update(narrowed.name, namespaces=["docs"])
    back = narrowed.update(narrowed.name, namespaces=["*"])
    assert await reason_of(back) in {"NAMESPACE", *ENDED}
    demoted = await person(shared_admin, "ADMIN", "*")
    await first.update(demoted.name, role=accounts_pb2.ROLE_USER)
    back = demoted.update(demoted.name, role=accounts_pb2.ROLE_ADMIN)
    assert await reason_of(back) in {"ROLE_DENIED", *ENDED}


async def test_the_last_admin_of_all_namespaces_stays_one(admin: RunningAdmin) -> None:
    first = await first_admin(admin)
    await person(admin, "ADMIN", "docs")
    for call in (
        first.update("admin", namespaces=["docs"]),
        first.update("admin", role=accounts_pb2.ROLE_USER),
        first.call("SuspendServiceAccount", CHANGES["SuspendServiceAccount"]("admin")),
        first.call("DeleteServiceAccount", CHANGES["DeleteServiceAccount"]("admin")),
    ):
        assert await reason_of(call) == "LAST_ADMIN"
    second = await person(admin, "ADMIN", "*")
    await second.update("admin", namespaces=["docs"])
    assert await reason_of(second.update(second.name, namespaces=["docs"])) == "LAST_ADMIN"


async def test_two_admins_who_remove_each_other_at_once_leave_one(admin: RunningAdmin) -> None:
    def removal(method: str, name: str) -> Any:
        if method != "UpdateServiceAccount":
            return CHANGES[method](name)
        smaller = accounts_pb2.ServiceAccount(role=accounts_pb2.ROLE_USER)
        return accounts_pb2.UpdateServiceAccountRequest(client_id=name, account=smaller)

    maker = await first_admin(admin)
    for method in ("DeleteServiceAccount", "SuspendServiceAccount", "UpdateServiceAccount"):
        one = await person(admin, "ADMIN", "*", by=maker)
        two = await person(admin, "ADMIN", "*", by=maker)
        # The two are the last.
        away = CHANGES["SuspendServiceAccount"](maker.name)
        await maker.call("SuspendServiceAccount", away)
        ended = await asyncio.gather(
            one.call(method, removal(method, two.name)),
            two.call(method, removal(method, one.name)),
            return_exceptions=True,
        )
        assert sum(isinstance(outcome, grpc.aio.AioRpcError) for outcome in ended) == 1, method
        left = two if isinstance(ended[0], Exception) else one
        assert await reason_of(left.call(method, removal(method, left.name))) == "LAST_ADMIN"
        maker = left
