"""docs/failures.md says no more than its rows do."""

from __future__ import annotations

from tests.containers.failures import Row, broken, page
from tests.containers.load import KINDS, Made


def row(service: str, seconds: float, *, kind: str = "search") -> Row:
    calls = [Made(one, 0.0, seconds if one == kind else 0.1, 1, "", "") for one in KINDS]
    return Row(service, "paused", 17.0, 5.0, calls)


def shown(rows: list[Row], *, wanted: int = 1, looked: bool = True) -> str:
    return page(rows, "All went on.", wanted=wanted, looked=looked, command="make it")


def test_a_call_that_waited_for_an_element_breaks_the_promise_of_searches() -> None:
    rows = [row("se-02", 18.0)]
    assert [one.partition(":")[0] for one in broken(rows)] == ["**an element**"]
    assert "**not kept**, the longest 18.0 s" in " ".join(shown(rows).split())


def test_what_only_that_element_can_answer_breaks_none() -> None:
    assert broken([row("se-02", 18.0, kind="download")]) == []


def test_a_run_that_was_ended_early_says_how_far_it_came() -> None:
    text = shown([row("valkey", 0.1)], wanted=48, looked=False)
    assert "**1 of 48 hurts, 8 calls, of which 0 failed" in text
    assert "At the end of the run all files" not in text


def test_a_whole_run_says_that_all_files_were_read_at_its_end() -> None:
    text = shown([row("valkey", 0.1)])
    assert "**1 hurts, 8 calls" in text
    assert "At the end of the run all files were read again" in text
