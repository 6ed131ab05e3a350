"""How many searches may wait for changes."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from mesh.errors import ResourceExhausted
from query_server.following.waiting import WAITING, Waits


def refused(waits: Waits, account: str, size_bytes: int = 0) -> str:
    with pytest.raises(ResourceExhausted) as error, waits.one(account, size_bytes):
        pass
    assert error.value.reason == "TOO_MANY_WAITING"
    assert error.value.retry_after_seconds
    return error.value.message


def test_one_account_takes_no_place_of_another() -> None:
    waits = Waits(as_one=2, in_all=3)
    before = WAITING._value.get()
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(waits.one("alice", 0))
        assert "of this account" in refused(waits, "alice")
        stack.enter_context(waits.one("bob", 0))
        assert "of all accounts" in refused(waits, "carol")
        assert WAITING._value.get() == before + 3
    assert WAITING._value.get() == before
    with waits.one("alice", 0):
        pass
    # Nothing is kept of those that are done.
    assert not waits._by_account


def test_large_requests_count_by_their_size() -> None:
    waits = Waits(in_bytes=100)
    with waits.one("alice", 60):
        assert "large" in refused(waits, "bob", 60)
        with waits.one("bob", 40):
            pass
