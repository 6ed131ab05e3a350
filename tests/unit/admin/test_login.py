"""A login and a change of the account at the same moment."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from admin_server.accounts.account import Credentials
from admin_server.accounts.attempts import WrongAttempts
from admin_server.accounts.login import Login
from admin_server.accounts.secrets import SecretHasher
from admin_server.clock import utc_now
from mesh.errors import Unauthenticated
from tests.unit.admin.made import account

SECRET = "the right one"


class Table:
    """Answers the account as it is at each reading."""

    def __init__(self, *readings: Credentials | None) -> None:
        self._readings = list(readings)

    async def find(self, client_id: str) -> Credentials | None:
        return self._readings.pop(0)


@pytest_asyncio.fixture
async def hasher() -> AsyncIterator[SecretHasher]:
    made = SecretHasher()
    yield made
    made.close()


async def answer(hasher: SecretHasher, *readings: Credentials | None) -> str:
    """The reason why a login is refused, or "let in"."""
    table = Table(*readings)
    login = Login(table, hasher, WrongAttempts(), now=utc_now)  # type: ignore[arg-type]
    try:
        await login.account_of("alice", SECRET)
    except Unauthenticated as refused:
        return refused.reason
    return "let in"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("none", "let in"),
        ("deleted", "WRONG_CREDENTIALS"),
        ("rotated", "WRONG_CREDENTIALS"),
        ("suspended", "ACCOUNT_SUSPENDED"),
    ],
)
async def test_what_is_ended_while_a_secret_is_looked_at_gives_no_token(
    hasher: SecretHasher, change: str, told: str
) -> None:
    before = Credentials(account(), await hasher.hash(SECRET))
    after = {
        "none": before,
        "deleted": None,
        "rotated": replace(before, secret_hash=await hasher.hash("another")),
        "suspended": replace(before, account=account(suspended=True)),
    }[change]
    assert await answer(hasher, before, after) == told
