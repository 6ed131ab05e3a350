"""Work that follows a stream."""

from __future__ import annotations

import pytest

from artstore_client.downloads.behind import BATCH_BYTES, Behind


async def test_pieces_are_worked_on_whole_in_order_and_in_batches() -> None:
    done: list[list[bytes]] = []
    behind = Behind(done.append)
    pieces = [bytes([number]) * (BATCH_BYTES // 3) for number in range(10)]
    for piece in pieces:
        await behind.put(piece)
    await behind.finish()
    assert [piece for batch in done for piece in batch] == pieces
    assert len(done) == 3


async def test_failure_of_the_work_reaches_the_stream() -> None:
    def fail(_: list[bytes]) -> None:
        raise OSError("full")

    behind = Behind(fail)
    with pytest.raises(OSError, match="full"):
        for _ in range(3):
            await behind.put(bytes(BATCH_BYTES))
    await behind.leave()


async def test_nothing_is_fine() -> None:
    behind = Behind(lambda batch: None)
    await behind.finish()
    await behind.leave()
