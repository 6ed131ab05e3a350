"""How full an element is, and what open uploads hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import ResourceExhausted
from storage_server.domain.capacity import (
    UNKNOWN_SIZE_STEP_BYTES,
    FillLevel,
    Reservations,
    fill_level,
    room,
)
from storage_server.domain.modes import Mode

STEP = UNKNOWN_SIZE_STEP_BYTES


@pytest.mark.parametrize(
    ("mode", "used", "level"),
    [
        (Mode.EDIT, 899, FillLevel.OK),
        (Mode.EDIT, 900, FillLevel.WARNING),
        (Mode.EDIT, 950, FillLevel.CRITICAL),
        (Mode.EDIT, 990, FillLevel.FULL),
        (Mode.RW, 849, FillLevel.OK),
        (Mode.RW, 850, FillLevel.WARNING),
        (Mode.RW, 920, FillLevel.CRITICAL),
        (Mode.RW, 980, FillLevel.FULL),
        (Mode.RW, 2000, FillLevel.FULL),
    ],
)
def test_levels_are_per_cents_of_the_capacity(mode: Mode, used: int, level: FillLevel) -> None:
    assert fill_level(mode, capacity_bytes=1000, used_bytes=used) is level


def test_no_capacity_is_full() -> None:
    assert fill_level(Mode.EDIT, capacity_bytes=0, used_bytes=0) is FillLevel.FULL


@given(
    st.sampled_from(Mode),
    st.integers(0, 1 << 50),
    st.integers(0, 1 << 50),
    st.integers(0, 1 << 50),
)
def test_filling_the_room_never_passes_full(
    mode: Mode, capacity: int, used: int, reserved: int
) -> None:
    left = room(mode, capacity_bytes=capacity, used_bytes=used, reserved_bytes=reserved)
    assert left >= 0
    if left:
        percent = 99 if mode is Mode.EDIT else 98
        assert (used + reserved + left) * 100 <= capacity * percent


def test_a_declared_size_is_held_until_released() -> None:
    reservations = Reservations()
    reservations.take("a", 100, room_bytes=150)
    reservations.take("b", 50, room_bytes=50)
    assert reservations.total_bytes == 150
    reservations.release("a")
    reservations.release("a")
    assert reservations.total_bytes == 50


def test_what_does_not_fit_is_refused_and_holds_nothing() -> None:
    reservations = Reservations()
    with pytest.raises(ResourceExhausted):
        reservations.take("a", 101, room_bytes=100)
    assert (reservations.total_bytes, reservations.held("a")) == (0, 0)


def test_a_file_of_no_bytes_fits_into_no_room() -> None:
    assert Reservations().take("a", 0, room_bytes=0) == 0


def test_an_unknown_size_is_held_in_steps() -> None:
    reservations = Reservations()
    assert reservations.take("a", None, room_bytes=STEP) == STEP
    assert reservations.extend("a", STEP, room_bytes=0) == STEP
    assert reservations.extend("a", STEP + 1, room_bytes=STEP) == 2 * STEP
    with pytest.raises(ResourceExhausted):
        reservations.extend("a", 2 * STEP + 1, room_bytes=STEP - 1)
    assert reservations.total_bytes == 2 * STEP


def test_taking_again_does_not_hold_twice() -> None:
    reservations = Reservations()
    reservations.take("a", 100, room_bytes=100)
    assert reservations.take("a", 100, room_bytes=0) == 100
    assert reservations.total_bytes == 100


def test_what_was_held_before_a_restart_is_held_again() -> None:
    reservations = Reservations()
    reservations.restore("a", 70)
    reservations.restore("a", 70)
    assert reservations.total_bytes == 70


ASKED = st.tuples(
    st.sampled_from(["take", "extend", "sent", "cut", "release", "become a file"]),
    st.integers(0, 5),
    st.integers(0, 200),
)


@given(st.lists(ASKED))
def test_sums_of_all_and_of_accounts_are_those_of_the_uploads(
    asked: list[tuple[str, int, int]],
) -> None:
    reservations, room = Reservations(), 1 << 40
    held: dict[str, int] = {}
    sent: dict[str, int] = {}
    files: set[str] = set()
    for what, number, size in asked:
        name, account = f"u{number}", "ab"[number % 2]
        known = name in held
        match what:
            case "take" if not known:
                held[name] = reservations.take(name, size, room_bytes=room, account=account)
                sent[name] = 0
            case "extend" if known and name not in files:
                held[name] = reservations.extend(
                    name, size, room_bytes=room, size_bytes=200, account=account
                )
            case "sent" if known and name not in files:
                sent[name] = min(size, held[name])
                reservations.sent(name, sent[name])
            case "cut" if known:
                held[name] = min(held[name], max(size, sent[name]))
                reservations.cut(name, size)
            case "become a file" if known:
                files.add(name)
                held[name] = sent[name] = size
                reservations.restore(name, size, sent_bytes=size)
            case "release":
                reservations.release(name)
                held.pop(name, None)
                files.discard(name)
        assert reservations.total_bytes == sum(held.values())
        assert reservations.unsent_bytes == sum(held[one] - sent[one] for one in held)
        for account in "ab":
            unsent = [
                held[one] - sent[one]
                for one in held
                if one not in files and "ab"[int(one[1:]) % 2] == account
            ]
            expected = len(unsent), sum(unsent), max(unsent, default=0)
            assert reservations.of(account) == expected
