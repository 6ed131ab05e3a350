"""Where a file may go, and what is said where it may go nowhere."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from admin_server.transfers.target import Targets
from mesh.elements.seen import Mode
from mesh.errors import FailedPrecondition


@pytest.mark.parametrize("any_mode", [False, True])
def test_whoever_may_name_an_element_of_any_mode_is_told_so_where_none_fits(any_mode: bool) -> None:
    nobody: Any = SimpleNamespace(joined=lambda: ())
    with pytest.raises(FailedPrecondition) as refused:
        Targets(nobody).chosen(Mode.RW, size_bytes=1, but={"se-01"}, any_mode=any_mode)
    assert refused.value.reason == "NO_ELEMENT"
    assert "start one with ARTSTORE_MODE=rw" in refused.value.message
    assert ("`artstore move ID --to se-NN`" in refused.value.message) is any_mode
