"""RotateKeys: a new key signs, tokens of the old one live out, and the schedule goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import jwt

from artstore.v1 import accounts_pb2, tokens_pb2
from tests.support.running_admin import ManualClock, RunningAdmin, bearer, code_of, running_admin
from tests.support.waiting import until


async def rotate(admin: RunningAdmin, who: str = "admin") -> Any:
    return await admin.tokens.RotateKeys(tokens_pb2.RotateKeysRequest(), **await admin.as_(who))


async def published(admin: RunningAdmin) -> set[str]:
    return {key["kid"] for key in (await admin.jwks())["keys"]}


async def until_published(admin: RunningAdmin, kids: set[str]) -> None:
    """Wait until these keys are published and no others: admin looks every two seconds."""

    async def are() -> bool:
        return await published(admin) == kids

    await until(are)


async def published_number(admin: RunningAdmin, number: int) -> bool:
    return len(await published(admin)) == number


def kid_of(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


async def test_the_new_key_signs_at_every_admin_and_old_tokens_live_out(
    database_url: str, tmp_path: Path
) -> None:
    clock, folders = ManualClock(), (tmp_path / "one", tmp_path / "two")
    for folder in folders:
        folder.mkdir()
    async with (
        running_admin(database_url, folders[0], now=clock) as one,
        running_admin(database_url, folders[1], now=clock) as two,
    ):
        old = await one.issue("alice")
        answers = await asyncio.gather(rotate(one), rotate(two))
        assert len({answer.key_id for answer in answers}) == 1
        key, end = answers[0].key_id, answers[0].old_key_expires_at.ToDatetime()
        assert abs((end - clock().replace(tzinfo=None)).total_seconds() - 900) < 30
        for signing, other in ((one, two), (two, one)):
            new = await signing.issue("alice")
            assert kid_of(new) == key
            for token in (old, new):
                assert await other.accepts(token)
        clock.advance(960)
        await until_published(one, {key})
        await until_published(two, {key})
        assert not await one.accepts(old)


async def test_a_rotation_by_hand_ends_keys_that_wait_and_moves_the_schedule(
    database_url: str, tmp_path: Path
) -> None:
    clock, ten_minutes = ManualClock(), 600 / 86400
    async with running_admin(
        database_url, tmp_path, now=clock, key_rotation_days=ten_minutes
    ) as admin:
        await admin.as_("admin")
        clock.advance(301)
        await until(lambda: published_number(admin, 2))
        waiting = await published(admin)
        answer = await rotate(admin)
        assert answer.key_id not in waiting
        assert len(waiting & await published(admin)) == 1
        clock.advance(305)
        await until(lambda: published_number(admin, 3))
        assert kid_of(await admin.issue("alice")) == answer.key_id
        clock.advance(300)
        assert kid_of(await admin.issue("alice")) not in waiting | {answer.key_id}


async def test_keys_are_of_all_namespaces(shared_admin: RunningAdmin) -> None:
    before = await published(shared_admin)
    request = accounts_pb2.CreateServiceAccountRequest(
        role=accounts_pb2.ROLE_ADMIN, namespaces=["docs"]
    )
    made = await shared_admin.accounts.CreateServiceAccount(
        request, **await shared_admin.as_("admin")
    )
    token = await shared_admin.issue(made.account.client_id, made.client_secret)
    call = shared_admin.tokens.RotateKeys(
        tokens_pb2.RotateKeysRequest(), metadata=bearer(token), timeout=10
    )
    for refused in (call, rotate(shared_admin, "alice"), rotate(shared_admin, "storage-se-01")):
        assert await code_of(refused) is grpc.StatusCode.PERMISSION_DENIED
    assert await published(shared_admin) == before
