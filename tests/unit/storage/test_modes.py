"""The table of modes, row by row."""

from __future__ import annotations

import pytest

from mesh.errors import FailedPrecondition
from storage_server.domain.modes import (
    Action,
    Mode,
    allows,
    check_transition,
    default_cache_ttl_hours,
    require,
)

TABLE = {
    Mode.EDIT: "create read metadata update delete",
    Mode.RW: "create read metadata update",
    Mode.RO: "read metadata",
    Mode.AR: "metadata",
}
WORDS = {
    "create": Action.CREATE,
    "read": Action.READ,
    "metadata": Action.READ_METADATA,
    "update": Action.UPDATE,
    "delete": Action.DELETE,
}


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("word", WORDS)
def test_a_mode_allows_what_the_table_says(mode: Mode, word: str) -> None:
    expected = word in TABLE[mode].split()
    assert allows(mode, WORDS[word]) is expected
    if expected:
        require(mode, WORDS[word])
    else:
        with pytest.raises(FailedPrecondition, match=f"mode {mode.value},") as refused:
            require(mode, WORDS[word])
        # What is there already may go where it is allowed.
        assert ("`artstore move ID --to" in refused.value.message) is (word != "create")


ALLOWED = {(Mode.RW, Mode.RO), (Mode.RO, Mode.AR)}


@pytest.mark.parametrize("current", Mode)
@pytest.mark.parametrize("target", Mode)
@pytest.mark.parametrize("confirm", [False, True])
def test_a_mode_goes_only_where_the_table_says(current: Mode, target: Mode, confirm: bool) -> None:
    back = (current, target) == (Mode.RO, Mode.RW)
    if current is target or (current, target) in ALLOWED or (back and confirm):
        check_transition(current, target, confirm=confirm)
    else:
        with pytest.raises(FailedPrecondition) as refused:
            check_transition(current, target, confirm=confirm)
        assert (refused.value.reason == "CONFIRM_REQUIRED") is back


def test_rows_of_elements_that_do_not_change_live_longer() -> None:
    assert [default_cache_ttl_hours(mode) for mode in Mode] == [24, 24, 168, 168]
