"""The server's own token: there when needed, renewed in time, honest when there is none."""

from __future__ import annotations

import asyncio

import pytest

from mesh.concurrency.background import Background
from mesh.errors import Unavailable
from mesh.identity.caller import Caller, Role
from mesh.identity.credentials import ServiceToken


class Admin:
    def __init__(self, seconds: float = 900.0, failures: int = 0) -> None:
        self.seconds = seconds
        self.failures = failures
        self.issued = 0

    async def issue(self) -> tuple[str, float]:
        if self.failures:
            self.failures -= 1
            raise Unavailable("admin is down")
        self.issued += 1
        return f"token-{self.issued}", self.seconds


async def test_metadata_carries_the_token_and_whose_call_it_is() -> None:
    account = ServiceToken(Admin().issue)
    async with Background() as background:
        background.start("renew", account.renew)
        await account.ready(1)
        assert account.metadata() == (("authorization", "Bearer token-1"),)
        bob = Caller("bob", Role.USER, token="bobs")
        assert account.metadata(bob, "up") == (
            ("authorization", "Bearer token-1"),
            ("artstore-caller", "bobs"),
            ("artstore-upload-token", "up"),
        )


async def test_without_admin_it_is_unavailable_until_admin_comes() -> None:
    account = ServiceToken(Admin(failures=1).issue)
    with pytest.raises(Unavailable):
        account.metadata()
    async with Background() as background:
        background.start("renew", account.renew)
        with pytest.raises(Unavailable):
            await account.ready(0.01)
        await account.ready(2)
        assert account.valid


async def test_it_is_renewed_before_it_ends() -> None:
    admin = Admin(seconds=0.1)
    account = ServiceToken(admin.issue)
    async with Background() as background:
        background.start("renew", account.renew)
        await account.ready(1)
        loop = asyncio.get_running_loop()
        end = loop.time() + 0.5
        while loop.time() < end:
            assert account.valid
            await asyncio.sleep(0.005)
    assert admin.issued >= 4


async def test_a_refused_token_is_replaced() -> None:
    admin = Admin()
    account = ServiceToken(admin.issue)
    async with Background() as background:
        background.start("renew", account.renew)
        await account.ready(1)
        account.refused()
        async with asyncio.timeout(2):
            while account.metadata()[0][1] != "Bearer token-2":  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.01)
