"""A login and a change of the account at the same moment."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from admin_server.accounts.account import Credentials
from admin_server.accounts.attempts import WrongLogins
from admin_server.accounts.login import Login
from admin_server.accounts.secrets import SecretHasher
from admin_server.accounts.turns import LoginTurns
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
    login = Login(table, hasher, WrongLogins(), now=utc_now)  # type: ignore[arg-type]
    try:
        await login.account_of("alice", SECRET)
    except Unauthenticated as refused:
        return refused.reason
    return "let in"


async def hashed(secret: str) -> str:
    """By another process: whoever compares it has to look."""
    elsewhere = SecretHasher()
    try:
        return await elsewhere.hash(secret)
    finally:
        elsewhere.close()


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
    before = Credentials(account(), await hashed(SECRET))
    after = {
        "none": before,
        "deleted": None,
        "rotated": replace(before, secret_hash=await hashed("another")),
        "suspended": replace(before, account=account(suspended=True)),
    }[change]
    assert await answer(hasher, before, after) == told


async def test_a_secret_that_is_known_to_be_right_waits_for_nothing(
    hasher: SecretHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Credentials(account(), await hasher.hash(SECRET))
    # Whoever has to wait for his turn is refused.
    monkeypatch.setattr(LoginTurns.__init__, "__kwdefaults__", {"as_one": 0, "in_all": 0})
    assert await answer(hasher, known) == "let in"


async def test_wrong_secrets_of_an_account_whose_right_one_is_known_cost_no_argon2(
    hasher: SecretHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Credentials(account(), await hasher.hash("another"))
    monkeypatch.setattr(hasher, "_verify", None)
    assert await answer(hasher, known) == "WRONG_CREDENTIALS"
    assert await answer(hasher, None) == "WRONG_CREDENTIALS"
