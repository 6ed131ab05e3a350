"""Pauses between tries: below limits that grow up to a longest one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.concurrency.backoff import Backoff


def longest(backoff: Backoff, tries: int) -> list[float]:
    return [backoff.delay() for _ in range(tries)]


def test_limits_grow_up_to_the_longest() -> None:
    backoff = Backoff(0.5, 3.0, spread=lambda: 1.0)
    assert longest(backoff, 5) == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert backoff.is_longest


def test_after_success_they_begin_anew() -> None:
    backoff = Backoff(0.2, 0.8, factor=4.0, spread=lambda: 1.0)
    assert longest(backoff, 3) == [0.2, 0.8, 0.8]
    backoff.reset()
    assert not backoff.is_longest
    assert longest(backoff, 2) == [0.2, 0.8]


def test_without_a_longest_they_do_not_grow() -> None:
    backoff = Backoff(1.0, spread=lambda: 1.0)
    assert longest(backoff, 3) == [1.0, 1.0, 1.0]


@given(st.floats(0, 1), st.floats(0.01, 10), st.floats(0.01, 100), st.integers(1, 2000))
def test_any_pause_is_between_half_a_limit_and_the_longest(
    spread: float, first: float, most: float, tries: int
) -> None:
    backoff = Backoff(first, most, spread=lambda: spread)
    least = min(first, most) / 2
    assert all(least <= pause <= most for pause in longest(backoff, tries))


@given(st.floats(0, 1), st.floats(0.01, 10))
def test_a_fixed_pause_is_never_short_and_never_longer_than_said(
    spread: float, seconds: float
) -> None:
    backoff = Backoff(seconds, spread=lambda: spread)
    assert all(seconds / 2 <= pause <= seconds for pause in longest(backoff, 3))


async def test_it_waits_for_its_pause() -> None:
    await Backoff(0.002, spread=lambda: 0.0).pause()
