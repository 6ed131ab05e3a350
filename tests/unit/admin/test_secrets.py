"""Hashing secrets: what matches, and that it is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from admin_server.accounts.secrets import CONCURRENCY, SecretHasher, new_secret
from mesh.errors import Unavailable


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


async def test_nothing_to_compare_with_never_matches(hasher: SecretHasher) -> None:
    assert not await hasher.matches(None, "correct horse")


async def test_two_hashes_of_one_secret_differ(hasher: SecretHasher) -> None:
    assert await hasher.hash("correct horse") != await hasher.hash("correct horse")


async def test_beyond_the_limit_callers_are_refused_at_once(hasher: SecretHasher) -> None:
    calls = [hasher.hash("x") for _ in range(CONCURRENCY + 2 + 3)]
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(outcome, Unavailable) for outcome in ended) == 3
    assert await hasher.hash("x")
