"""Batches of a repair are as large as the machine writes them in half a second."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from storage_server.cache import pace
from storage_server.cache.pace import FEWEST, Pace
from storage_server.catalog.merge import MERGED_TOGETHER


def after(monkeypatch: pytest.MonkeyPatch, *transactions: tuple[int, float]) -> int:
    """Rows in the next batch, after transactions of so many rows and seconds."""
    made, clock = Pace(), 0.0
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: clock))
    for rows, seconds in transactions:
        with made.measured(rows):
            clock += seconds
    return made.rows


def test_batches_are_as_large_as_they_may_be_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert after(monkeypatch) == MERGED_TOGETHER
    assert after(monkeypatch, (10_000, 0.3)) == MERGED_TOGETHER


def test_slow_transactions_make_them_smaller_down_to_the_fewest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = (10_000, 2.0)
    assert after(monkeypatch, slow) == (MERGED_TOGETHER + 2500) // 2
    assert after(monkeypatch, *[(1000, 60.0)] * 20) == FEWEST


def test_they_grow_again_when_the_machine_is_quick_again(monkeypatch: pytest.MonkeyPatch) -> None:
    slow, quick = [(1000, 60.0)] * 20, [(1000, 0.03)] * 20
    assert after(monkeypatch, *slow, *quick) == MERGED_TOGETHER


def test_a_few_rows_tell_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert after(monkeypatch, (1, 60.0)) == MERGED_TOGETHER
