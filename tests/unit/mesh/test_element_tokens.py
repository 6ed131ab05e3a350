"""A server's tokens for elements: one each, there before they are needed, and without admin."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from mesh.concurrency.background import Background
from mesh.errors import Unavailable
from mesh.identity.caller import Caller, Role
from mesh.identity.credentials import ElementTokens


class Admin:
    def __init__(self) -> None:
        self.issued: Counter[str] = Counter()
        self.down = False

    async def issue(self, audience: str) -> tuple[str, float]:
        if self.down:
            raise Unavailable("admin is down")
        self.issued[audience] += 1
        return f"{audience}-{self.issued[audience]}", 900.0


async def test_each_element_is_called_with_a_token_of_its_own() -> None:
    tokens = ElementTokens(Admin().issue)
    bob = Caller("bob", Role.USER, token="bobs")
    async with Background() as background:
        background.start("tokens", tokens.renew)
        await asyncio.sleep(0)
        assert await tokens.metadata("se-01") == (("authorization", "Bearer artstore/se-01-1"),)
        assert await tokens.metadata("se-02", bob, "up") == (
            ("authorization", "Bearer artstore/se-02-1"),
            ("artstore-caller", "bobs"),
            ("artstore-upload-token", "up"),
        )


async def test_what_is_kept_is_there_when_admin_is_not() -> None:
    admin = Admin()
    tokens = ElementTokens(admin.issue)
    async with Background() as background:
        background.start("tokens", tokens.renew)
        tokens.keep(["se-01", "se-02"])
        async with asyncio.timeout(1):
            while len(admin.issued) < 2:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.001)
        admin.down = True
        for name in ("se-01", "se-02"):
            assert await tokens.metadata(name)
        tokens.keep(["se-01"])
        with pytest.raises(Unavailable):
            await tokens.metadata("se-02")


async def test_when_the_accounts_tokens_were_ended_each_is_replaced() -> None:
    admin = Admin()
    tokens = ElementTokens(admin.issue)
    async with Background() as background:
        background.start("tokens", tokens.renew)
        await asyncio.sleep(0)
        for name in ("se-01", "se-02"):
            await tokens.metadata(name)
        tokens.all_refused()
        async with asyncio.timeout(2):
            while set(admin.issued.values()) != {2}:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.01)


async def test_a_token_that_an_element_refused_is_replaced_and_the_others_are_not() -> None:
    admin = Admin()
    tokens = ElementTokens(admin.issue)
    async with Background() as background:
        background.start("tokens", tokens.renew)
        await asyncio.sleep(0)
        await tokens.metadata("se-01")
        await tokens.metadata("se-02")
        tokens.refused("se-01")
        async with asyncio.timeout(2):
            while await tokens.metadata("se-01") != (  # noqa: ASYNC110 - no event tells
                ("authorization", "Bearer artstore/se-01-2"),
            ):
                await asyncio.sleep(0.01)
        assert admin.issued["artstore/se-02"] == 1


async def test_a_server_without_an_account_is_told_so_at_once() -> None:
    tokens = ElementTokens(Admin().issue)
    async with asyncio.timeout(0.5):
        with pytest.raises(Unavailable):
            await tokens.metadata("se-01")
