"""What whoever asks for an erasure is told of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

from admin_server.erasures.operations import Shown
from admin_server.erasures.table import Erasure
from mesh.operations import Operations, State
from tests.support.waiting import until

NOW = datetime(2026, 5, 1, tzinfo=UTC)
RECORD = Erasure(
    file_id="file",
    namespace="default",
    reason="case 1",
    requested_by="admin",
    operation_id="erase-file",
    requested_at=NOW,
    erased_on=("se-01",),
    waits_for=("se-02",),
)
DONE = replace(RECORD, done_at=NOW, erased_on=("se-01", "se-02"), waits_for=())


async def test_an_erasure_that_is_done_is_told_as_done_while_its_operation_still_ends() -> None:
    operations = Operations()
    shown = Shown(operations)
    try:
        assert shown.show(RECORD).error == "waits for se-02"
        await asyncio.sleep(0)
        assert shown.show(RECORD).state is State.RUNNING
        assert shown.show(DONE).state is State.SUCCEEDED
        await until(lambda: operations.find("erase-file").state is State.SUCCEEDED)
        assert shown.show(DONE).state is State.SUCCEEDED
    finally:
        await operations.stop()
