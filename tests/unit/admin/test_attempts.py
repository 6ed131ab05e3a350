"""Wrong tries: how many, for whom, and when they are forgotten."""

from __future__ import annotations

import pytest

from admin_server.accounts import attempts
from admin_server.accounts.attempts import WrongAttempts
from mesh.errors import ResourceExhausted


class Seconds:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_so_many_are_allowed_and_then_time_gives_them_back() -> None:
    clock = Seconds()
    tries = WrongAttempts(allowed=3, window_seconds=30, clock=clock)
    for _ in range(3):
        tries.check("alice")
        tries.record("alice")
    with pytest.raises(ResourceExhausted) as refused:
        tries.check("alice")
    assert refused.value.metadata["retry_after_seconds"] == "10"
    clock.now += 10
    tries.check("alice")
    tries.record("alice")
    with pytest.raises(ResourceExhausted):
        tries.check("alice")
    clock.now += 30
    for _ in range(3):
        tries.check("alice")
        tries.record("alice")


def test_each_account_counts_for_itself() -> None:
    tries = WrongAttempts(allowed=1)
    tries.record("alice")
    tries.check("bob")
    with pytest.raises(ResourceExhausted):
        tries.check("alice")


def test_a_right_secret_forgets_the_wrong_ones() -> None:
    tries = WrongAttempts(allowed=1)
    tries.record("alice")
    tries.forget("alice")
    tries.check("alice")


def test_memory_is_bounded_and_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "MAX_TRACKED", 3)
    tries = WrongAttempts(allowed=1)
    for name in ("a", "b", "c", "d"):
        tries.record(name)
    tries.check("a")
    with pytest.raises(ResourceExhausted):
        tries.check("d")
