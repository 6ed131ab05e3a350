"""After a failure nobody tries for a while, then one tries for all."""

from __future__ import annotations

from mesh.concurrency.breaker import Breaker


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
