"""Hashing secrets: what matches, and that it is bounded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from admin_server.accounts.remembered import RememberedSecrets
from admin_server.accounts.secrets import CONCURRENCY, SecretHasher, new_secret
from mesh.errors import ResourceExhausted


@pytest.fixture
def hasher() -> Iterator[SecretHasher]:
    made = SecretHasher(max_waiting=2)
    yield made
    made.close()


def test_secrets_have_256_bits_and_differ() -> None:
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    assert {len(secret) for secret in made} == {43}


async def test_a_hash_matches_its_secret_only(hasher: SecretHasher) -> None:
    kept = await hasher.hash("correct horse")
    assert kept.startswith("$argon2id$")
    assert await hasher.matches(kept, "correct horse")
    assert not await hasher.matches(kept, "correct horse ")
    assert not await hasher.matches("no hash at all", "correct horse")


async def test_a_comparison_that_is_not_made_takes_as_long_as_one(hasher: SecretHasher) -> None:
    kept = await hasher.hash("correct horse")
    began = time.perf_counter()
    for number in range(3):
        await hasher.matches(kept[:-1] + "/", f"guess {number}")
    compared, began = time.perf_counter() - began, time.perf_counter()
    for _ in range(3):
        await hasher.pretend()
    assert time.perf_counter() - began > compared / 10


async def test_what_was_compared_once_costs_nothing_again(
    hasher: SecretHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = SecretHasher()
    kept = await other.hash("correct horse")
    other.close()
    assert await hasher.matches(kept, "correct horse")
    monkeypatch.setattr(hasher, "_verify", None)
    assert await hasher.matches(kept, "correct horse")
    assert not await hasher.matches(kept, "correct horse ")


def test_those_that_are_used_are_remembered_longest() -> None:
    remembered = RememberedSecrets(most=2)
    for name in ("a", "b"):
        remembered.learn(name, f"secret of {name}")
    assert remembered.matches("a", "secret of a")
    remembered.learn("c", "secret of c")
    assert remembered.matches("b", "secret of b") is None
    assert remembered.matches("a", "secret of a") is True
    assert remembered.matches("a", "secret of c") is False


async def test_two_hashes_of_one_secret_differ(hasher: SecretHasher) -> None:
    assert await hasher.hash("correct horse") != await hasher.hash("correct horse")


async def test_beyond_the_limit_callers_are_refused_at_once(hasher: SecretHasher) -> None:
    calls = [hasher.hash("x") for _ in range(CONCURRENCY + 2 + 3)]
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(outcome, ResourceExhausted) for outcome in ended) == 3
    assert await hasher.hash("x")
