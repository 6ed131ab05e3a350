"""The token cache."""

from __future__ import annotations

import asyncio

import pytest

from artstore_client import Unavailable
from artstore_client.calls.tokens import IssuedToken, TokenCache


class Admin:
    """Issues numbered tokens, or fails."""

    def __init__(self, life_seconds: float = 900) -> None:
        self.issued = 0
        self.down = False
        self.now = 1000.0
        self.life_seconds = life_seconds

    async def issue(self) -> IssuedToken:
        await asyncio.sleep(0)
        if self.down:
            raise Unavailable("admin is down")
        self.issued += 1
        return IssuedToken(f"t{self.issued}", self.life_seconds)

    def clock(self) -> float:
        return self.now


def cache_of(admin: Admin) -> TokenCache:
    return TokenCache(admin.issue, admin.clock)


async def test_tasks_that_come_together_share_one_token() -> None:
    admin = Admin()
    cache = cache_of(admin)
    assert set(await asyncio.gather(*(cache.get() for _ in range(20)))) == {"t1"}
    assert admin.issued == 1


async def test_token_is_renewed_before_it_ends() -> None:
    admin = Admin()
    cache = cache_of(admin)
    await cache.get()
    admin.now += 839
    assert await cache.get() == "t1"
    admin.now += 2
    assert await cache.get() == "t2"


async def test_short_token_is_renewed_when_a_fifth_is_left() -> None:
    admin = Admin(life_seconds=10)
    cache = cache_of(admin)
    await cache.get()
    admin.now += 7.9
    assert await cache.get() == "t1"
    admin.now += 0.2
    assert await cache.get() == "t2"


async def test_token_that_is_still_good_is_used_while_admin_is_down() -> None:
    admin = Admin()
    cache = cache_of(admin)
    await cache.get()
    admin.down = True
    admin.now += 890
    assert await cache.get() == "t1"
    admin.now += 11
    with pytest.raises(Unavailable):
        await cache.get()


async def test_refused_token_is_replaced_once() -> None:
    admin = Admin()
    cache = cache_of(admin)
    first = await cache.get()
    cache.refuse(first)
    assert await cache.get() == "t2"
    cache.refuse(first)
    assert await cache.get() == "t2"


async def test_cancelled_task_does_not_keep_the_others_waiting() -> None:
    admin = Admin()
    cache = cache_of(admin)
    first = asyncio.ensure_future(cache.get())
    second = asyncio.ensure_future(cache.get())
    await asyncio.sleep(0)
    first.cancel()
    assert await second == "t1"
