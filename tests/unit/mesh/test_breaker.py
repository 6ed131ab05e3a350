"""After a failure nobody tries for a while, then one tries for all."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from mesh.concurrency.breaker import OPEN_SECONDS, Breaker


def test_after_a_failure_nobody_tries_for_a_while_and_then_one_does() -> None:
    now = [100.0]
    breaker = Breaker(3.0, clock=lambda: now[0])
    assert breaker.allows()
    breaker.trip()
    now[0] += 2.9
    assert not breaker.allows()
    now[0] += 0.1
    assert breaker.allows()
    assert not breaker.allows()


def test_an_answer_lets_everybody_try_again() -> None:
    breaker = Breaker(3.0, clock=lambda: 100.0)
    breaker.trip()
    breaker.mend()
    assert breaker.allows()
    assert breaker.allows()


def test_a_try_that_never_ends_is_followed_by_another() -> None:
    now = [100.0]
    breaker = Breaker(3.0, clock=lambda: now[0])
    breaker.trip()
    now[0] += 3
    assert breaker.allows()
    now[0] += 3
    assert breaker.allows()


class Trying(RuleBasedStateMachine):
    """In each while after a failure one tries, and nobody else, until somebody was answered."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.breaker = Breaker(OPEN_SECONDS, clock=lambda: self.now)
        self.closed_until: float | None = None

    @rule(seconds=st.floats(0, 2 * OPEN_SECONDS))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def fail(self) -> None:
        self.breaker.trip()
        self.closed_until = self.now + OPEN_SECONDS

    @rule()
    def answer(self) -> None:
        self.breaker.mend()
        self.closed_until = None

    @rule()
    def ask(self) -> None:
        expected = self.closed_until is None or self.now >= self.closed_until
        assert self.breaker.is_open is not expected
        assert self.breaker.allows() is expected
        if expected and self.closed_until is not None:
            self.closed_until = self.now + OPEN_SECONDS


TestTrying = Trying.TestCase
TestTrying.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
