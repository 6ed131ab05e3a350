"""Elements that failed a moment ago."""

from __future__ import annotations

from dataclasses import replace

from ingest_server.placement.suspects import Suspects
from mesh.concurrency.breaker import Breaker
from tests.support.elements import an_element

FAILED = an_element()
REPORTED_SINCE = replace(FAILED, heard_at=FAILED.heard_at + 2)


def test_an_element_is_suspect_for_a_while_and_then_tried_again() -> None:
    now = [100.0]
    suspects = Suspects(lambda: Breaker(3.0, clock=lambda: now[0]))
    suspects.trip(FAILED, "connection refused")
    assert suspects.among([REPORTED_SINCE, an_element("se-02")]) == {"se-01"}
    now[0] += 3.1
    assert suspects.among([REPORTED_SINCE]) == frozenset()


def test_an_element_that_has_not_reported_since_stays_suspect() -> None:
    now = [100.0]
    suspects = Suspects(lambda: Breaker(3.0, clock=lambda: now[0]))
    suspects.trip(FAILED, "silent")
    now[0] += 3600
    assert suspects.among([FAILED]) == {"se-01"}


def test_an_answer_mends_it_at_once() -> None:
    suspects = Suspects(lambda: Breaker(3.0, clock=lambda: 100.0))
    suspects.trip(FAILED, "silent")
    suspects.mend(FAILED)
    assert suspects.among([FAILED]) == frozenset()
