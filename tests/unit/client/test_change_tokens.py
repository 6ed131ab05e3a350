"""What a client remembers of its own changes."""

from __future__ import annotations

from artstore_client.calls.change_tokens import ChangeTokens


def test_an_answer_that_comes_late_takes_no_later_change_back() -> None:
    tokens = ChangeTokens()
    for token in ("se-01.e.2", "se-01.e.10", "se-01.e.9", ""):
        tokens.note("se-01", token)
    tokens.note("se-02", "se-02.e.1")
    tokens.note("se-03", "")
    assert tokens == {"se-01": "se-01.e.10", "se-02": "se-02.e.1"}


def test_of_another_history_a_change_is_the_later_one() -> None:
    tokens = ChangeTokens()
    tokens.note("se-01", "se-01.old.10")
    tokens.note("se-01", "se-01.new.1")
    assert tokens == {"se-01": "se-01.new.1"}
