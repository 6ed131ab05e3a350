"""The list of those whose tokens are refused: what it refuses, which list counts, what is kept."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.errors import Unauthenticated
from mesh.identity.caller import Caller, Role
from mesh.identity.suspensions import Suspension, SuspensionList, Suspensions

MALLORY = Caller("mallory", Role.USER, token="t", issued_at=1000.0, expires_at=1900.0)
ALICE = replace(MALLORY, subject="alice")


def of(listed_at: float, *suspensions: Suspension) -> SuspensionList:
    return SuspensionList(listed_at, suspensions)


def reason(suspensions: Suspensions, caller: Caller) -> str:
    try:
        suspensions.require_good(caller)
    except Unauthenticated as refusal:
        return refusal.reason
    return ""


def test_every_token_of_a_suspended_account_is_refused() -> None:
    suspensions = Suspensions()
    suspensions.take(of(1, Suspension("mallory", 1500.0)))
    for issued_at in (0.0, 1000.0, 2000.0):
        assert reason(suspensions, replace(MALLORY, issued_at=issued_at)) == "ACCOUNT_SUSPENDED"
    assert reason(suspensions, ALICE) == ""
    suspensions.take(of(2))
    assert reason(suspensions, MALLORY) == ""


@pytest.mark.parametrize(
    ("issued_at", "refused"), [(1499.0, True), (1500.0, True), (1501.0, False)]
)
def test_tokens_that_were_ended_are_those_of_that_second_and_before(
    issued_at: float, refused: bool
) -> None:
    suspensions = Suspensions()
    suspensions.take(of(1, Suspension("mallory", 1500.7, 9000.0)))
    expected = "TOKEN_WITHDRAWN" if refused else ""
    assert reason(suspensions, replace(MALLORY, issued_at=issued_at)) == expected


def test_a_copy_counts_only_if_it_is_later_and_admins_own_word_always() -> None:
    suspensions = Suspensions()
    suspensions.take(of(10, Suspension("mallory", 5.0)))
    suspensions.take_newer(of(9))
    suspensions.take_newer(of(10))
    assert "mallory" in suspensions
    suspensions.take_newer(of(11))
    assert "mallory" not in suspensions
    # Its clock was set back.
    suspensions.take(of(2, Suspension("mallory", 5.0)))
    assert "mallory" in suspensions


def test_the_bell_rings_when_others_are_refused_than_before() -> None:
    suspensions = Suspensions()
    rings = suspensions.bell.listen()
    suspensions.take(of(1))
    assert not rings.take()
    suspensions.take(of(2, Suspension("mallory", 1.0)))
    assert rings.take()
    suspensions.take(of(3, Suspension("mallory", 1.0)))
    assert not rings.take()


async def test_the_last_list_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "suspensions.json"
    suspensions = Suspensions(path)
    entries = Suspension("mallory", 1.5), Suspension("deleted", 2.5, 9000.5)
    suspensions.take(of(10, *entries))
    await suspensions.keep()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    restarted = Suspensions(path)
    assert reason(restarted, MALLORY) == "ACCOUNT_SUSPENDED"
    assert SuspensionList.from_json(path.read_bytes()).suspensions == entries
    restarted.take_newer(of(9))
    assert len(restarted) == 2


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b"\xff", b'{"listed_at": 1}', b'{"listed_at": 1, "suspensions": [1]}'],
)
def test_a_damaged_file_is_as_none_until_admin_answers(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "suspensions.json"
    path.write_bytes(content)
    suspensions = Suspensions(path)
    assert len(suspensions) == 0
    suspensions.take_newer(of(1, Suspension("mallory", 1.0)))
    assert "mallory" in suspensions


@pytest.mark.parametrize(
    "copy",
    [
        '{"listed_at": 1e300, "suspensions": []}',
        '{"listed_at": Infinity, "suspensions": []}',
        '{"listed_at": NaN, "suspensions": []}',
        '{"listed_at": 1e999, "suspensions": []}',
        '{"listed_at": 1, "suspensions":'
        ' [{"client_id": "m", "suspended_at": Infinity, "ends_at": 5}]}',
        '{"listed_at": 1, "suspensions": [{"client_id": "m", "suspended_at": 1, "ends_at": NaN}]}',
        '{"listed_at": 1, "suspensions": [{"client_id": "m", "suspended_at": -1, "ends_at": 5}]}',
    ],
)
def test_times_that_no_clock_shows_are_no_list(copy: str) -> None:
    with pytest.raises(ValueError, match="suspensions"):
        SuspensionList.from_json(copy)


def test_a_copy_from_the_future_lifts_no_suspension() -> None:
    suspensions = Suspensions(now=lambda: 2000.0)
    suspensions.take(of(1990, Suspension("mallory", 5.0)))
    suspensions.take_newer(of(2061))
    assert "mallory" in suspensions
    suspensions.take_newer(of(2059))
    assert "mallory" not in suspensions


def test_admin_itself_is_no_account_and_never_refused() -> None:
    suspensions = Suspensions()
    suspensions.take(of(1, Suspension("mallory", 1500.0)))
    assert reason(suspensions, replace(MALLORY, from_admin=True)) == ""
