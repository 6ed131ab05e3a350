"""ListSuspensions: who is on it, who may ask, and that admin goes by it itself."""

from __future__ import annotations

from pathlib import Path

import grpc

from artstore.v1 import accounts_pb2, tokens_pb2
from mesh.identity.suspensions import SUSPENSIONS_KEY
from mesh.redis import open_redis
from tests.support.running_admin import RunningAdmin, bearer, code_of, running_admin
from tests.support.waiting import until

NAMES = ("m-1", "m-2", "m-3")


async def suspended(admin: RunningAdmin, *names: str) -> None:
    caller = await admin.as_("admin")
    for name in names:
        await admin.accounts.CreateServiceAccount(
            accounts_pb2.CreateServiceAccountRequest(client_id=name, role=accounts_pb2.ROLE_USER),
            **caller,
        )
        await admin.accounts.SuspendServiceAccount(
            accounts_pb2.SuspendServiceAccountRequest(client_id=name), **caller
        )


async def listed(admin: RunningAdmin, **asked: object) -> tokens_pb2.ListSuspensionsResponse:
    request = tokens_pb2.ListSuspensionsRequest(**asked)  # type: ignore[arg-type]
    answer: tokens_pb2.ListSuspensionsResponse = await admin.tokens.ListSuspensions(
        request, **await admin.as_("storage-se-01")
    )
    return answer


async def test_suspended_and_deleted_accounts_are_listed_by_name(
    database_url: str, tmp_path: Path
) -> None:
    async with running_admin(database_url, tmp_path) as admin:
        assert list((await listed(admin)).suspensions) == []
        await suspended(admin, *NAMES)
        caller = await admin.as_("admin")
        await admin.accounts.DeleteServiceAccount(
            accounts_pb2.DeleteServiceAccountRequest(client_id="m-2"), **caller
        )
        await admin.accounts.ResumeServiceAccount(
            accounts_pb2.ResumeServiceAccountRequest(client_id="m-3"), **caller
        )
        first = await listed(admin, page_size=1)
        assert (first.total_size, first.suspensions[0].client_id) == (2, "m-1")
        rest = await listed(admin, page_size=1, page_token=first.next_page_token)
        deleted = rest.suspensions[0]
        assert (deleted.client_id, rest.next_page_token) == ("m-2", "")
        assert not first.suspensions[0].HasField("ends_at")
        assert deleted.HasField("ends_at")
        assert first.listed_at.seconds >= first.suspensions[0].suspended_at.seconds
        # Also of a server that runs as ADMIN.
        await admin.tokens.ListSuspensions(tokens_pb2.ListSuspensionsRequest(), **caller)
        for name in ("alice", "auditor"):
            call = admin.tokens.ListSuspensions(
                tokens_pb2.ListSuspensionsRequest(), **await admin.as_(name)
            )
            assert await code_of(call) is grpc.StatusCode.PERMISSION_DENIED
    # What it read last counts from the first call on.
    token = ""
    async with running_admin(database_url, tmp_path) as admin:
        token = await admin.issue("alice")
        await admin.accounts.SuspendServiceAccount(
            accounts_pb2.SuspendServiceAccountRequest(client_id="alice"), **await admin.as_("admin")
        )

        async def refused() -> bool:
            return not await admin.accepts(token)

        await until(refused)
        kept = tmp_path / "keys" / "suspensions.json"
        await until(lambda: kept.exists() and b"alice" in kept.read_bytes())
    async with running_admin(database_url, tmp_path) as admin:
        assert not await admin.accepts(token)


async def test_who_ends_tokens_is_answered_when_they_are_ended(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with running_admin(database_url, tmp_path, redis_url=redis_url) as admin:
        boss, redis = await admin.as_("admin"), open_redis(redis_url)
        for method in ("RotateServiceAccount", "SuspendServiceAccount", "DeleteServiceAccount"):
            made = await admin.accounts.CreateServiceAccount(
                accounts_pb2.CreateServiceAccountRequest(role=accounts_pb2.ROLE_USER), **boss
            )
            name = made.account.client_id
            token = await admin.issue(name, made.client_secret)
            request = getattr(accounts_pb2, f"{method}Request")(client_id=name)
            await getattr(admin.accounts, method)(request, **boss)
            assert not await admin.accepts(token), method
            assert name.encode() in await redis.get(SUSPENSIONS_KEY), method
        await redis.aclose()


async def test_who_changes_his_own_secret_gets_the_new_one(shared_admin: RunningAdmin) -> None:
    caller = await shared_admin.as_("admin")
    made = await shared_admin.accounts.CreateServiceAccount(
        accounts_pb2.CreateServiceAccountRequest(role=accounts_pb2.ROLE_ADMIN, namespaces=["*"]),
        **caller,
    )
    name = made.account.client_id
    own = {"metadata": bearer(await shared_admin.issue(name, made.client_secret)), "timeout": 10}
    request = accounts_pb2.RotateServiceAccountRequest(client_id=name)
    rotated = await shared_admin.accounts.RotateServiceAccount(request, **own)
    assert await shared_admin.issue(name, rotated.client_secret)
