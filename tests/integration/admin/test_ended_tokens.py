"""Table `suspensions`: whose tokens are refused, as long as any of them could live."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import jwt
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask

from admin_server.accounts.suspensions import LONGEST_TOKEN_LIFE
from artstore.v1 import accounts_pb2
from tests.support.running_admin import (
    SECRET,
    ManualClock,
    RunningAdmin,
    admin_database,
    running_admin,
)


class Ended:
    """Admin's calls as the first ADMIN, and what its table then says of `alice`."""

    def __init__(self, admin: RunningAdmin, connection: asyncpg.Connection[Any]) -> None:
        self.admin = admin
        self._connection = connection

    async def do(self, verb: str, client_id: str = "alice", **fields: Any) -> Any:
        request = getattr(accounts_pb2, f"{verb}ServiceAccountRequest")
        call = getattr(self.admin.accounts, f"{verb}ServiceAccount")
        caller = await self.admin.as_("admin")
        return await call(request(client_id=client_id, **fields), **caller)

    async def row(self) -> tuple[datetime, datetime | None] | None:
        row = await self._connection.fetchrow(
            "SELECT suspended_at, ends_at FROM suspensions WHERE client_id = 'alice'"
        )
        return None if row is None else tuple(row)

    async def refused(self, token: str) -> bool:
        """Whether a server that knows the table refuses the token."""
        row = await self.row()
        issued_at = jwt.decode(token, options={"verify_signature": False})["iat"]
        return row is not None and (row[1] is None or issued_at <= int(row[0].timestamp()))


@pytest_asyncio.fixture(loop_scope="session")
async def ended(database_url: str, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Ended]:
    async with (
        running_admin(database_url, tmp_path, now=clock) as admin,
        admin_database(database_url) as connection,
    ):
        yield Ended(admin, connection)


async def test_a_suspension_has_no_end_and_keeps_its_first_moment(
    ended: Ended, clock: ManualClock
) -> None:
    token = await ended.admin.issue("alice")
    await ended.do("Suspend")
    first = await ended.row()
    assert first is not None
    assert first[1] is None
    clock.advance(60)
    await ended.do("Suspend")
    assert await ended.row() == first
    assert await ended.refused(token)
    await ended.do("Resume")
    assert await ended.row() is None


async def test_tokens_of_a_deleted_account_are_refused_as_long_as_one_could_live(
    ended: Ended, clock: ManualClock
) -> None:
    token = await ended.admin.issue("alice")
    await ended.do("Delete")
    row = await ended.row()
    assert row is not None
    assert row[1] == row[0] + LONGEST_TOKEN_LIFE
    assert timedelta(days=1) < LONGEST_TOKEN_LIFE
    assert await ended.refused(token)
    clock.advance(LONGEST_TOKEN_LIFE.total_seconds() + 1)
    await ended.do("Delete", "auditor")
    assert await ended.row() is None


async def test_an_account_made_again_at_once_has_good_tokens_and_the_old_ones_stay_refused(
    ended: Ended,
) -> None:
    old = await ended.admin.issue("alice")
    await ended.do("Delete")
    made = await ended.do("Create", role=accounts_pb2.ROLE_USER)
    new = await ended.admin.issue("alice", made.client_secret)
    assert await ended.admin.accepts(new)
    assert await ended.refused(old)
    assert not await ended.refused(new)
    # So they stay through a suspension of the new one.
    await ended.do("Suspend")
    assert await ended.refused(new)
    await ended.do("Resume")
    assert await ended.refused(old)
    assert not await ended.refused(new)


async def test_a_rotation_without_overlap_ends_the_tokens_and_one_with_overlap_does_not(
    ended: Ended,
) -> None:
    old = await ended.admin.issue("alice")
    answer = await ended.do("Rotate", overlap_seconds=60)
    until = answer.account.old_secret_ends_at.ToDatetime()
    assert until - answer.account.rotated_at.ToDatetime() == timedelta(seconds=60)
    assert await ended.row() is None
    answer = await ended.do("Rotate")
    assert not answer.account.HasField("old_secret_ends_at")
    new = await ended.admin.issue("alice", answer.client_secret)
    assert await ended.refused(old)
    assert not await ended.refused(new)


async def test_tokens_ended_while_an_account_is_suspended_stay_ended_when_it_is_resumed(
    ended: Ended,
) -> None:
    old = await ended.admin.issue("alice")
    await ended.do("Suspend")
    made = await ended.do("Rotate")
    row = await ended.row()
    assert row is not None
    assert row[1] is None
    await ended.do("Resume")
    assert await ended.refused(old)
    assert not await ended.refused(await ended.admin.issue("alice", made.client_secret))


async def test_a_change_that_takes_something_away_ends_the_tokens_of_before(
    ended: Ended,
) -> None:
    old = await ended.admin.issue("alice")
    more = accounts_pb2.ServiceAccount(description="more", namespaces=["default", "docs"])
    await ended.do("Update", account=more)
    assert not await ended.refused(old)
    less = accounts_pb2.ServiceAccount(namespaces=["docs"])
    await ended.do("Update", account=less, update_mask=FieldMask(paths=["namespaces"]))
    assert await ended.refused(old)
    assert not await ended.refused(await ended.admin.issue("alice", SECRET))


async def test_limits_travel_in_the_token_as_far_as_they_are_no_defaults(ended: Ended) -> None:
    async def claim() -> Any:
        token = await ended.admin.issue("alice", SECRET)
        return jwt.decode(token, options={"verify_signature": False}).get("limits")

    assert await claim() is None
    limits = accounts_pb2.AccountLimits(open_uploads=0, calls=900)
    answer = await ended.do("Update", account=accounts_pb2.ServiceAccount(limits=limits))
    assert answer.account.limits == limits
    assert await claim() == {"open_uploads": 0, "calls": 900}
    one = FieldMask(paths=["limits.calls"])
    answer = await ended.do("Update", account=accounts_pb2.ServiceAccount(), update_mask=one)
    assert answer.account.limits == accounts_pb2.AccountLimits(open_uploads=0)
    answer = await ended.do("Update", update_mask=FieldMask(paths=["limits"]))
    assert answer.account.limits == accounts_pb2.AccountLimits()
    assert await claim() is None
