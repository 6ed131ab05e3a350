"""Wrong logins: whose answers are slowed down, by how much, and when that ends."""

from __future__ import annotations

import asyncio

import pytest

from admin_server.accounts import attempts
from admin_server.accounts.attempts import (
    ALLOWED_AS_ONE,
    ALLOWED_FROM_ONE,
    FIRST_SECONDS,
    MOST_SECONDS,
    STEP_SECONDS,
    WINDOW_SECONDS,
    WrongLogins,
)
from mesh.errors import ResourceExhausted

HOME = "192.0.2.1"


class Seconds:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_beyond_those_allowed_each_takes_longer_and_time_gives_them_back() -> None:
    clock = Seconds()
    wrong = WrongLogins(clock=clock)
    for _ in range(ALLOWED_AS_ONE):
        wrong.record("alice", HOME)
    assert wrong.seconds("alice", HOME) == FIRST_SECONDS
    wrong.record("alice", HOME)
    wrong.record("alice", HOME)
    assert wrong.seconds("alice", HOME) == FIRST_SECONDS + 2 * STEP_SECONDS
    clock.now += WINDOW_SECONDS / ALLOWED_AS_ONE
    assert wrong.seconds("alice", HOME) == pytest.approx(FIRST_SECONDS + STEP_SECONDS)
    clock.now += WINDOW_SECONDS
    assert wrong.seconds("alice", HOME) == FIRST_SECONDS


def test_whoever_guesses_one_account_from_many_places_is_slowed_down() -> None:
    wrong = WrongLogins()
    for number in range(ALLOWED_AS_ONE + 2):
        wrong.record("alice", f"192.0.2.{number}")
    assert wrong.seconds("alice", "192.0.2.200") > FIRST_SECONDS
    assert wrong.seconds("bob", "192.0.2.200") == FIRST_SECONDS


def test_whoever_guesses_many_accounts_from_one_place_is_slowed_down() -> None:
    wrong = WrongLogins()
    for number in range(ALLOWED_FROM_ONE + 2):
        wrong.record(f"account-{number}", HOME)
    assert wrong.seconds("another", HOME) > FIRST_SECONDS
    assert wrong.seconds("another", "192.0.2.2") == FIRST_SECONDS


def test_no_attack_makes_an_answer_wait_for_ever_then_or_afterwards() -> None:
    clock = Seconds()
    wrong = WrongLogins(clock=clock)
    for _ in range(10_000):
        wrong.record("alice", HOME)
        wrong.record_unseen(HOME)
    assert wrong.seconds("alice", HOME) == MOST_SECONDS
    clock.now += 3 * WINDOW_SECONDS
    assert wrong.seconds("alice", HOME) == FIRST_SECONDS


def test_memory_is_bounded_and_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "MAX_TRACKED", 3)
    wrong = WrongLogins(clock=Seconds())
    for name in ("a", "b", "c", "d"):
        for _ in range(ALLOWED_AS_ONE + 1):
            wrong.record(name, f"of {name}")
    assert wrong.seconds("a", "of a") == FIRST_SECONDS
    assert wrong.seconds("d", "of d") > FIRST_SECONDS


async def test_only_so_many_answers_are_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "MAX_HELD", 2)
    wrong = WrongLogins()
    held = [asyncio.create_task(wrong.hold_back(60)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(ResourceExhausted) as refused:
        await wrong.hold_back(60)
    assert refused.value.retry_after_seconds == MOST_SECONDS
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)
    await wrong.hold_back(0)
