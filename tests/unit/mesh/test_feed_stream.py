"""How far a follower reads ahead of what it writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from artstore.v1.changes_pb2 import Change, WatchChangesResponse
from artstore.v1.types_pb2 import File
from mesh.follower.stream import BATCH, CHANGE_BYTES, FeedStream


class Call:
    """A feed of equal messages without an end."""

    def __init__(self, message: WatchChangesResponse) -> None:
        self.message = message
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[WatchChangesResponse]:
        while True:
            self.taken += 1
            yield self.message
            await asyncio.sleep(0)

    def cancel(self) -> None:
        pass


def _message(changes: int, size_bytes: int) -> WatchChangesResponse:
    message = WatchChangesResponse()
    file = File(description="x" * size_bytes)
    message.changes.changes.extend(Change(file=file) for _ in range(changes))
    return message


@pytest.mark.parametrize(("changes", "size_bytes"), [(500, 10), (500, 4000), (1, 3 << 20)])
async def test_changes_and_bytes_that_are_read_ahead_have_a_bound(
    changes: int, size_bytes: int
) -> None:
    call: Any = Call(_message(changes, size_bytes))
    async with FeedStream(call) as stream:
        for _ in range(100):
            await asyncio.sleep(0)
        batch = await stream.batch()
        assert not stream.empty
        assert len(batch) * changes <= BATCH + changes
        for _ in range(100):
            await asyncio.sleep(0)
        ahead = (call.taken - len(batch)) * call.message.ByteSize()
        assert ahead <= 2 * BATCH * CHANGE_BYTES + 2 * call.message.ByteSize()
        assert (call.taken - len(batch)) * changes <= 2 * BATCH + 2 * changes
