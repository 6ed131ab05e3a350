"""The model notices when a rule is missing: each of these, taken away, ends wrong somewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.unit.life.scenarios import ACTIVE, THREE, TWO
from tests.unit.life.taken_away import TAKEN_AWAY
from tests.unit.life.walk import walk
from tests.unit.life.world import Scenario, forget_all

# Where each is missed in the fewest states.
MISSED = {
    "everybody must have answered": "copy, home silent",
    "who was away is compared before it counts": "copy, home silent",
    "one home-making step at a time": "copy, home silent",
    "new tables do not know what is under way": "copies, home silent, tables lost",
    "what goes leaves a stub": "copy, home silent",
    "copies hear of a deletion": "copy, home silent",
    "a tombstone outlives what it must stop": "copy",
    "nobody purges by its own clock": "copy",
    "home_since comes before revision": "copy, home silent",
    "a home yields to what knows of a later one": "there and back, source restored",
    "a restored home takes up what followed it": "copy, home restored",
    "a restored home waits for everybody": "copies, home restored, a copy silent",
    "a restore outlasts a call": "copy, copy restored",
    "of two homes one yields": "copy, home silent",
    "a switch needs the same text": "there and back, source restored",
    "erased here is erased everywhere": "erase, one lost",
    "two witnesses": "erase within a move",
    "taken already is taken": "copy, home silent",
}


@pytest.fixture(autouse=True)
def _own_memory() -> Iterator[None]:
    forget_all()
    yield
    forget_all()


def test_each_rule_has_its_scenario() -> None:
    assert MISSED.keys() | {"steps are conditional", "home_since is later by the clock"} == (
        TAKEN_AWAY.keys()
    )


@pytest.mark.parametrize("rule", MISSED)
def test_a_rule_is_missed(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    TAKEN_AWAY[rule](monkeypatch.setattr)
    assert walk((TWO | THREE)[MISSED[rule]]).wrong


def test_steps_must_be_conditional_when_two_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    TAKEN_AWAY["steps are conditional"](monkeypatch.setattr)
    assert walk(replace(TWO["move, tables lost, cancelled"], calls=2)).wrong


def test_home_since_must_be_later_than_those_that_nobody_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next number after the known ones is the one that a home has which is lost."""
    scenario = Scenario(
        (None, ACTIVE), {"update": 3, "move:0": 1, "cut:0": 1, "lapse": 1, "lose": 1, "return": 1}
    )
    assert not walk(scenario).wrong
    TAKEN_AWAY["home_since is later by the clock"](monkeypatch.setattr)
    forget_all()
    assert walk(scenario).wrong
