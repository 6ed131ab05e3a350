"""Whether an element's clock may be believed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Unavailable
from storage_server.element.clock import ANSWER_LIFE_SECONDS, Clock

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC).timestamp()
DAY = 86_400.0


class Machine:
    """A clock on a machine whose time a test sets, and what other clocks say."""

    def __init__(self, wrong_by: float = 0.0) -> None:
        self.passed = 0.0
        self.wrong_by = wrong_by
        self.clock = Clock(
            "se-01",
            tolerance_seconds=300,
            wall=lambda: NOW + self.passed + self.wrong_by,
            monotonic=lambda: 1000 + self.passed,
        )

    def hears(self, whose: str, wrong_by: float = 0.0, *, took: float = 0.0) -> None:
        asked_at = self.clock.monotonic()
        self.passed += took
        self.clock.heard(whose, NOW + self.passed - took / 2 + wrong_by, asked_at=asked_at)


def test_a_clock_that_nobody_contradicts_is_right() -> None:
    assert Machine(wrong_by=-NOW).clock.now() == datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("whose", ["PostgreSQL", "Redis"])
@pytest.mark.parametrize("wrong_by", [7 * DAY, 301.0, -301.0, -NOW])
def test_either_of_the_others_is_enough_to_doubt(whose: str, wrong_by: float) -> None:
    machine = Machine(wrong_by)
    machine.hears(whose)
    with pytest.raises(Unavailable) as refused:
        machine.clock.now()
    assert refused.value.reason == "CLOCK"
    side = "ahead of" if wrong_by > 0 else "behind"
    assert f"{abs(wrong_by):.0f} s {side} {whose}'s" in refused.value.message
    assert "set the clock" in refused.value.message
    assert abs(machine.clock.agreed() - NOW) < 1e-3


def test_one_that_agrees_is_enough_and_the_other_is_told_of() -> None:
    machine = Machine()
    machine.hears("PostgreSQL", 2 * DAY)
    machine.hears("Redis")
    assert machine.clock.doubt() == ""
    assert {whose: round(ahead) for whose, ahead in machine.clock.disagreeing().items()} == {
        "PostgreSQL": -2 * DAY
    }


def test_the_difference_to_each_is_said_when_none_agrees() -> None:
    machine = Machine(wrong_by=DAY)
    machine.hears("PostgreSQL")
    machine.hears("Redis", 2 * DAY)
    assert "86400 s ahead of PostgreSQL's and 86400 s behind Redis's" in machine.clock.doubt()


@given(
    wrong_by=st.floats(-290, 290),
    took=st.floats(0, 30),
    share=st.floats(0, 1),
)
def test_the_way_of_an_answer_never_makes_a_clock_wrong(
    wrong_by: float, took: float, share: float
) -> None:
    machine = Machine(wrong_by)
    asked_at = machine.clock.monotonic()
    told = NOW + took * share
    machine.passed += took
    machine.clock.heard("Redis", told, asked_at=asked_at)
    assert machine.clock.doubt() == ""


def test_a_jump_is_noticed_by_the_next_upload_without_asking_anybody() -> None:
    machine = Machine()
    machine.hears("PostgreSQL")
    machine.passed += 100
    assert machine.clock.doubt() == ""
    machine.wrong_by = 8 * DAY
    assert machine.clock.doubt()
    machine.wrong_by = 0
    assert machine.clock.doubt() == ""


def test_what_was_heard_long_ago_does_not_count() -> None:
    machine = Machine()
    machine.hears("PostgreSQL", 7 * DAY)
    assert machine.clock.doubt()
    machine.passed += ANSWER_LIFE_SECONDS + 1
    assert machine.clock.doubt() == ""


def test_the_newest_file_counts_only_while_nobody_answers() -> None:
    machine = Machine(wrong_by=-DAY)
    machine.clock.newest_file(NOW)
    assert "newest file" in machine.clock.doubt()
    machine.hears("Redis", -DAY)
    assert machine.clock.doubt() == ""
    right = Machine()
    right.clock.newest_file(NOW - 1000 * DAY)
    assert right.clock.doubt() == ""
