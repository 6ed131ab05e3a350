"""All orders of what may happen to one file: each must end right when all work again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.life.scenarios import LONG, THREE, TWO
from tests.unit.life.walk import walk
from tests.unit.life.world import Scenario, forget_all

# Walked whole up to here; what is longer is walked to a bound, the shortest ways first.
BOUND = 100_000


@pytest.fixture(autouse=True)
def _own_memory() -> None:
    forget_all()


@pytest.mark.parametrize("name", TWO)
def test_whatever_happens_on_two_elements_ends_right(name: str) -> None:
    walked = walk(TWO[name])
    assert walked.wrong == "", walked
    assert walked.whole


@pytest.mark.full
@pytest.mark.parametrize("name", [*LONG, *THREE])
def test_whatever_happens_on_three_elements_or_more_often_ends_right(name: str) -> None:
    walked = walk((LONG | THREE)[name])
    assert walked.wrong == "", walked
    assert walked.whole


@pytest.mark.full
@pytest.mark.parametrize("name", [*TWO, *THREE])
def test_whatever_happens_while_two_calls_are_under_way_ends_right(name: str) -> None:
    scenario: Scenario = replace((TWO | THREE)[name], calls=2)
    walked = walk(scenario, BOUND)
    assert walked.wrong == "", walked
