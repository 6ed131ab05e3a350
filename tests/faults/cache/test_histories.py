"""Whatever happened to store, rows and process, a full rebuild makes rows equal to sidecars."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.faults.cache.element import ElementProcess
from tests.faults.cache.histories import Histories

QUIET = settings(
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
# The same histories in every run; `make test-full` looks for new ones.
SAME = settings(QUIET, derandomize=True, phases=[Phase.generate])


def _run(element: ElementProcess, chosen: settings) -> None:
    machine = type("HistoriesOfOne", (Histories,), {"element": element})
    run_state_machine_as_test(machine, settings=chosen)


@pytest.mark.parametrize(
    "examples", [8, pytest.param(150, marks=[pytest.mark.full, pytest.mark.timeout(3600)])]
)
def test_rows_equal_valid_sidecars_after_any_history(
    element: ElementProcess, examples: int
) -> None:
    chosen = SAME if examples < 100 else QUIET
    _run(element, settings(chosen, max_examples=examples, stateful_step_count=25))
