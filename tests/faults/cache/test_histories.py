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


def test_rows_equal_valid_sidecars_after_any_history_on_local_files(
    local_element: ElementProcess,
) -> None:
    _run(local_element, settings(SAME, max_examples=3, stateful_step_count=20))


def test_rows_equal_valid_sidecars_after_any_history_on_s3(
    s3_element: ElementProcess,
) -> None:
    _run(s3_element, settings(SAME, max_examples=2, stateful_step_count=20))


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["local", "s3"])
def test_rows_equal_valid_sidecars_after_many_histories(
    request: pytest.FixtureRequest, kind: str
) -> None:
    element: ElementProcess = request.getfixturevalue(f"{kind}_element")
    element.require_writable()
    _run(element, settings(QUIET, max_examples=150, stateful_step_count=30))
