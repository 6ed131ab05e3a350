"""What is left of a cancelled transfer is taken away, and nothing of another one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest

from admin_server.life.seen import CopyState
from admin_server.life.steps import Collect, Collected
from admin_server.transfers.worker import Worker

CANCELLED = SimpleNamespace(
    transfer_id="t1", file_id="file", source="se-01", target="se-02", is_open=False
)


def looked() -> Any:
    home = SimpleNamespace(element_id="se-01", state=CopyState.ACTIVE)
    there = SimpleNamespace(element_id="se-02", state=CopyState.INCOMING, digest="d")
    return SimpleNamespace(
        home=home, on={"se-01": home, "se-02": there}.get, require_answer=lambda *_: None
    )


@pytest.mark.parametrize("begun", ["before", "meanwhile", "elsewhere", "not"])
async def test_what_a_transfer_that_was_begun_since_brought_stays(begun: str) -> None:
    another = SimpleNamespace(transfer_id="t2", target="se-02")
    open_transfers = {
        "before": [another],
        "meanwhile": [None, another],
        "elsewhere": [SimpleNamespace(transfer_id="t2", target="se-03")] * 2,
        "not": [None, None],
    }
    table, queue, taken = AsyncMock(), AsyncMock(), AsyncMock()
    table.open_of.side_effect = open_transfers[begun]
    settling: Any = SimpleNamespace(
        look=AsyncMock(return_value=looked()), stepping=SimpleNamespace(take=taken)
    )
    targets: Any = None
    claim: Any = SimpleNamespace(transfer=CANCELLED)
    await Worker(queue, table, settling, targets, 1.0).work(claim)
    steps = [call.args[0] for call in taken.await_args_list]
    gone = Collect(element_id="se-02", digest="d", step=Collected.TO_GONE, moved_to="se-01")
    assert steps == ([gone] if begun in ("elsewhere", "not") else [])
    queue.tidied.assert_awaited_once_with(claim)
