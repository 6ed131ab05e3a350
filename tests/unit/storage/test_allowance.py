"""How much of the room one account's open uploads may hold, whatever is asked for and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_server.domain.allowance import (
    MIN_LEFT_BYTES,
    Holding,
    Verdict,
    Word,
    is_beyond_share,
    judge,
    word_of_others,
)

FREE = 1000
PERCENT = 10


def a_holding(*unsent: int, free: int = FREE, undecided: bool = False) -> Holding:
    return Holding(len(unsent), sum(unsent), max(unsent, default=0), free, undecided)


@pytest.mark.parametrize(
    ("unsent", "verdict"),
    [
        ([], Verdict.WITHIN_SHARE),
        ([100], Verdict.WITHIN_SHARE),
        ([50, 50], Verdict.WITHIN_SHARE),
        ([0] * 1000, Verdict.WITHIN_SHARE),
        ([101], Verdict.IF_NOWHERE_ELSE),
        ([1000], Verdict.IF_NOWHERE_ELSE),
        ([800, 100], Verdict.IF_NOWHERE_ELSE),
        ([800, 101], Verdict.TOO_MUCH),
        ([60, 60, 60], Verdict.TOO_MUCH),
        ([900, 50], Verdict.IF_NOWHERE_ELSE),
        ([900, 51], Verdict.TOO_MUCH),
    ],
)
def test_beside_its_share_an_account_may_have_one_upload_of_any_size(
    unsent: Sequence[int], verdict: Verdict
) -> None:
    assert judge(a_holding(*unsent), PERCENT) is verdict


def test_others_keep_a_twentieth_of_all_but_the_smallest_elements() -> None:
    small, large = 20 * MIN_LEFT_BYTES - 20, 20 * MIN_LEFT_BYTES
    assert judge(a_holding(small, free=small), PERCENT) is Verdict.IF_NOWHERE_ELSE
    assert judge(a_holding(large, free=large), PERCENT) is Verdict.TOO_MUCH
    assert judge(a_holding(large - MIN_LEFT_BYTES, free=large), PERCENT) is Verdict.IF_NOWHERE_ELSE


def test_a_full_element_has_no_shares() -> None:
    assert judge(a_holding(free=0), PERCENT) is Verdict.WITHIN_SHARE
    assert judge(a_holding(0, free=0), PERCENT) is Verdict.WITHIN_SHARE
    assert judge(a_holding(1, 1, free=0), PERCENT) is Verdict.TOO_MUCH


@given(st.lists(st.integers(0, 2 * FREE)), st.integers(1, 100))
def test_of_what_is_asked_for_one_after_the_other_others_keep_their_room(
    sizes: Sequence[int], percent: int
) -> None:
    held: list[int] = []
    for size in sizes:
        asked = [*held, size]
        fits = sum(asked) <= FREE
        if fits and judge(a_holding(*asked), percent) is not Verdict.TOO_MUCH:
            held = asked
    largest = max(held, default=0)
    assert (sum(held) - largest) * 100 <= FREE * percent
    if len([one for one in held if one]) > 1 and percent <= 95:
        assert sum(held) * 100 <= FREE * 95


@given(st.lists(st.integers(0, FREE), max_size=8), st.integers(0, 100))
def test_what_one_element_grants_by_itself_adds_up_to_the_share_of_the_mesh(
    asked: Sequence[int], percent: int
) -> None:
    """Each of them at an element of its own."""
    granted = [one for one in asked if judge(a_holding(one), percent) is Verdict.WITHIN_SHARE]
    assert sum(granted) * 100 <= len(asked) * FREE * percent


# --- several elements at once ------------------------------------------------------------


@dataclass
class Asking:
    """One element on the way to an upload beyond the account's share.

    It claims, asks the others one by one, and decides; all of it takes its time.
    """

    element_id: str
    elements: dict[str, Asking]
    state: str = "idle"
    answers: list[tuple[str, Holding]] = field(default_factory=list)

    @property
    def holding(self) -> Holding:
        if self.state in ("idle", "refused"):
            return a_holding()
        return a_holding(800, undecided=self.state == "asking")

    def step(self) -> None:
        others = [name for name in self.elements if name != self.element_id]
        if self.state == "idle":
            self.state = "asking"
        elif self.state == "asking" and len(self.answers) < len(others):
            name = others[len(self.answers)]
            self.answers.append((name, self.elements[name].holding))
        elif self.state == "asking":
            word = word_of_others(self.element_id, self.answers, PERCENT)
            self.answers = []
            self.state = {Word.GRANTED: "granted", Word.REFUSED: "refused"}.get(word, "asking")


@given(
    st.integers(2, 4),
    st.lists(st.integers(0, 3), max_size=60),
)
def test_of_elements_that_ask_at_the_same_time_one_at_most_and_in_the_end_one_is_granted(
    count: int, order: Sequence[int]
) -> None:
    elements: dict[str, Asking] = {}
    for number in range(count):
        name = f"se-{number:02}"
        elements[name] = Asking(name, elements)
    steps = [*order, *(list(range(count)) * 30)]
    for number in steps:
        elements[f"se-{number % count:02}"].step()
        states = [one.state for one in elements.values()]
        assert states.count("granted") <= 1
    assert states.count("granted") == 1
    assert states.count("asking") == 0


def test_whether_an_element_is_asked_again_or_refuses_is_by_its_own_word() -> None:
    here = [("se-02", a_holding(800, undecided=True))]
    assert word_of_others("se-01", here, PERCENT) is Word.ASK_AGAIN
    assert word_of_others("se-03", here, PERCENT) is Word.REFUSED
    assert word_of_others("se-01", [("se-02", a_holding(800))], PERCENT) is Word.REFUSED
    assert word_of_others("se-01", [("se-02", a_holding(100))], PERCENT) is Word.GRANTED
    assert not is_beyond_share(a_holding(100), PERCENT)
