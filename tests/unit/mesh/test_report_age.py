"""How old a report is, whatever the clock of its writer says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.contract import MAX_REPORT_AGE_SECONDS
from mesh.elements.seen import SeenElement, heard
from tests.support.elements import an_element

WALL = 1_800_000_000.0
REPORT_SECONDS = 5.0
offsets = st.floats(-300, 300)


class Source:
    """One source of reports, read when a test says so."""

    def __init__(self, *, healthy: bool | None = None) -> None:
        self.healthy = healthy
        self.now = 1000.0
        self._before: SeenElement | None = None
        self._seen_at = self.now

    def read(self, reported_at: float) -> SeenElement:
        found = heard(
            an_element(reported_at=reported_at, healthy=self.healthy),
            self._before,
            seen_at=self._seen_at,
            now=self.now,
            wall=WALL + self.now,
        )
        self._before, self._seen_at = found, self.now
        return found


@given(offset=offsets, healthy=st.sampled_from([None, True]))
def test_an_element_that_reports_is_believed_whatever_its_clock_says(
    offset: float, healthy: bool | None
) -> None:
    source = Source(healthy=healthy)
    reported_at = WALL + source.now + offset
    source.read(reported_at)
    for second in range(60):
        source.now += 1
        if second % REPORT_SECONDS == 0:
            reported_at = WALL + source.now + offset
        assert source.read(reported_at).is_fresh(source.now)


@given(offset=offsets, healthy=st.sampled_from([None, True]))
def test_a_report_that_is_read_again_and_again_grows_old(
    offset: float, healthy: bool | None
) -> None:
    source = Source(healthy=healthy)
    reported_at = WALL + source.now + offset
    source.read(reported_at - 5)
    source.now += 1
    source.read(reported_at)
    for _ in range(int(MAX_REPORT_AGE_SECONDS) + 1):
        source.now += 1
        found = source.read(reported_at)
    assert not found.is_fresh(source.now)


@pytest.mark.parametrize("offset", [-3600.0, -20.0, 20.0])
def test_a_first_report_of_another_time_says_nothing_yet(offset: float) -> None:
    source = Source()
    assert not source.read(WALL + source.now + offset).is_fresh(source.now)


def test_admins_word_decides_on_a_first_report() -> None:
    for healthy in (True, False):
        source = Source(healthy=healthy)
        for offset in (-250.0, 0.0, 250.0):
            found = heard(
                an_element(reported_at=WALL + source.now + offset, healthy=healthy),
                None,
                seen_at=source.now,
                now=source.now,
                wall=WALL + source.now,
            )
            assert found.is_fresh(source.now) is healthy


def test_what_admin_calls_silent_is_not_believed_though_its_time_changes() -> None:
    source = Source(healthy=False)
    source.read(WALL + source.now - 60)
    source.now += 1
    assert not source.read(WALL + source.now - 50).is_fresh(source.now)


def test_where_clocks_agree_the_time_of_the_report_counts() -> None:
    source = Source()
    source.read(WALL + source.now)
    source.now += 4
    assert source.read(WALL + source.now - 3).heard_at == pytest.approx(source.now - 3)


def test_a_clock_that_is_set_back_costs_no_trust() -> None:
    source = Source()
    first = source.read(WALL + source.now)
    source.now += 2
    second = source.read(replace(first, reported_at=WALL + source.now - 200).reported_at)
    assert second.is_fresh(source.now)
    assert second.heard_at > first.heard_at
