"""Which other elements are asked about an account, and when nothing can be said."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from mesh.elements.seen import SeenElement
from mesh.errors import Unavailable
from mesh.identity.credentials import ServiceToken
from storage_server.peers.peers import Peers
from tests.support.elements import an_element

DOWN = Unavailable("down")


class Heard:
    """Admin's list, or the reports in Redis."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)
        self.error: Unavailable | None = None

    async def find_ids(self) -> set[str]:
        if self.error is not None:
            raise self.error
        return set(self.names)

    async def read(self, element_ids: Collection[str] | None = None) -> list[SeenElement]:
        if self.error is not None:
            raise self.error
        wanted = self.names if element_ids is None else self.names & set(element_ids)
        return [an_element(name, endpoint=f"{name}:1") for name in wanted]


class Asked(Peers):
    """Notes who would be asked."""

    def __init__(self, admin: Heard, redis: Heard, account: ServiceToken) -> None:
        super().__init__("se-01", admin, redis, account, tokens=None, channels=None)  # type: ignore[arg-type]

    async def names(self) -> set[str]:
        return set(await self._others())


@pytest.fixture
async def account() -> ServiceToken:
    token = ServiceToken(None)  # type: ignore[arg-type]
    token._token, token._expires_at = "t", float("inf")
    return token


async def test_admins_word_decides_which_elements_there_are(account: ServiceToken) -> None:
    asked = Asked(Heard("se-01", "se-02"), Heard("se-01", "se-09"), account)
    assert await asked.names() == {"se-02"}


async def test_while_admin_is_away_those_it_listed_are_asked(account: ServiceToken) -> None:
    admin, redis = Heard("se-01", "se-02"), Heard("se-01", "se-02")
    asked = Asked(admin, redis, account)
    await asked.names()
    admin.error = DOWN
    assert await asked.names() == {"se-02"}


async def test_nothing_is_said_when_some_element_may_be_missing(account: ServiceToken) -> None:
    admin, redis = Heard("se-01"), Heard("se-01")
    asked = Asked(admin, redis, account)
    admin.error = DOWN
    assert await asked.names() == set()
    redis.names.add("se-02")
    with pytest.raises(Unavailable):
        await asked.names()
    redis.names, redis.error = {"se-01"}, DOWN
    with pytest.raises(Unavailable):
        await asked.names()
