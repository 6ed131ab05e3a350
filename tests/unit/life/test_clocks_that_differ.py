"""Admin counts a step as over after a while by its clock; an element takes it by its own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from admin_server.life.homes import BEGUN_SHARE, DECISIONS_LIVE_SECONDS
from admin_server.life.stepping import STEP_SECONDS
from mesh.errors import Aborted
from storage_server.domain.freshness import CLOCKS_DIFFER, DECISIONS_LIVE, Freshness

DECIDED_AT = datetime(2026, 5, 1, tzinfo=UTC)
CALL_SHARE = STEP_SECONDS / DECISIONS_LIVE_SECONDS


def is_begun(step: Freshness, by_its_clock: float) -> bool:
    try:
        step.require(DECIDED_AT + timedelta(seconds=by_its_clock))
    except Aborted as refused:
        assert refused.reason == "STALE"
        return False
    return True


@pytest.mark.parametrize("life", [DECISIONS_LIVE_SECONDS, 10.0, 0.3])
def test_a_step_has_happened_when_admin_allows_the_next_whatever_the_clocks(life: float) -> None:
    step = Freshness(DECIDED_AT, DECIDED_AT + timedelta(seconds=life * BEGUN_SHARE))
    last = 0.0
    for behind in (life * share / 120 for share in range(0, 61)):
        # Sent at once, it is taken or refused for its clock; the same clock decides at its end.
        if not is_begun(step, -behind):
            continue
        for at in (life * share / 120 for share in range(0, 241)):
            if is_begun(step, at - behind):
                last = max(last, at)
    assert last > life / 2
    assert last + life * CALL_SHARE <= life


def test_an_element_five_seconds_behind_still_takes_what_is_sent_at_once() -> None:
    assert DECISIONS_LIVE.total_seconds() == DECISIONS_LIVE_SECONDS
    until = DECIDED_AT + timedelta(seconds=DECISIONS_LIVE_SECONDS * BEGUN_SHARE)
    step = Freshness(DECIDED_AT, until)
    seconds = CLOCKS_DIFFER.total_seconds()
    assert is_begun(step, -seconds)
    assert not is_begun(step, -seconds - 0.1)
