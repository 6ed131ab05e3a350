"""Turns of logins: one by one for each account, and how many may wait."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from admin_server.accounts.turns import LoginTurns
from mesh.errors import ResourceExhausted


async def waiting(turns: LoginTurns, client_id: str, secret: str) -> asyncio.Task[None]:
    async def wait() -> None:
        async with turns.of(client_id, secret):
            pass

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    return task


async def test_an_account_that_is_attacked_holds_up_no_other() -> None:
    turns = LoginTurns(as_one=2)
    async with turns.of("alice", "guess 1"):
        second = await waiting(turns, "alice", "guess 2")
        with pytest.raises(ResourceExhausted) as refused:
            await (await waiting(turns, "alice", "guess 3"))
        assert refused.value.reason == "LOGINS_BUSY"
        assert refused.value.retry_after_seconds
        async with asyncio.timeout(5), turns.of("bob", "guess 1"):
            pass
        assert not second.done()
    async with asyncio.timeout(5):
        await second


async def test_many_with_one_secret_take_the_place_of_one() -> None:
    turns = LoginTurns(as_one=1)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(turns.of("alice", "right"))
        others = [await waiting(turns, "alice", "right") for _ in range(200)]
        with pytest.raises(ResourceExhausted):
            await (await waiting(turns, "alice", "another"))
    await asyncio.gather(*others)


async def test_so_many_wait_in_all_and_those_that_leave_make_room() -> None:
    turns = LoginTurns(in_all=2)
    async with turns.of("alice", "x"):
        left = await waiting(turns, "alice", "y")
        with pytest.raises(ResourceExhausted):
            await (await waiting(turns, "bob", "x"))
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        await (await waiting(turns, "bob", "x"))
    # Nothing is kept of those that are done.
    assert turns._waiting == {}
