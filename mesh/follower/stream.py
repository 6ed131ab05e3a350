"""A change feed as it comes in, in batches."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio

from artstore.v1.changes_pb2 import WatchChangesRequest, WatchChangesResponse
from mesh.calls.status import from_rpc_error
from mesh.concurrency.watched import cancel_and_wait
from mesh.contract import HEARTBEAT_SECONDS
from mesh.errors import Unavailable

# Changes that are handed on together; twice as many are read ahead.
BATCH = 1000
# A change that is larger than any sidecar counts as several.
CHANGE_BYTES = 8192
# Three heartbeats missed.
SILENCE_SECONDS = 3 * HEARTBEAT_SECONDS + 1.0


class FeedStream:
    """Messages of one call in order; `push_back` what belongs to whoever reads on.

    Use it with `async with`: leaving the block ends the call.
    """

    def __init__(
        self,
        call: grpc.aio.UnaryStreamCall[WatchChangesRequest, WatchChangesResponse],
    ) -> None:
        self._call = call
        self._queue: asyncio.Queue[WatchChangesResponse | Exception] = asyncio.Queue()
        self._weight = 0
        self._room = asyncio.Event()
        self._left: list[WatchChangesResponse] = []
        self._failure: Exception | None = None
        self._reader = asyncio.create_task(self._read(), name="read a change feed")

    async def __aenter__(self) -> FeedStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        # The reader first: a parked reader leaks the connection when the call ends under it.
        await cancel_and_wait(self._reader)
        self._call.cancel()

    @property
    def empty(self) -> bool:
        """Nothing has come since the last batch."""
        return not self._left and self._queue.empty()

    def push_back(self, messages: list[WatchChangesResponse]) -> None:
        """The next batch begins with these."""
        self._left = messages + self._left

    async def batch(self) -> list[WatchChangesResponse]:
        """What has come since the last batch, at least one message, and about `BATCH` changes at
        most; waits for it.

        Raises:
            AioRpcError: the call has ended.
            Unavailable: the element ended the feed, or is silent.
        """
        if self._left:
            messages, self._left = self._left, []
            return messages
        if self._failure is not None:
            raise self._failure
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                found = await self._queue.get()
        except TimeoutError as exc:
            raise Unavailable("the element is silent") from exc
        messages, weight = [], 0
        while True:
            if isinstance(found, Exception):
                self._failure = found
                if messages:
                    return messages
                raise found
            messages.append(found)
            weight += _weight(found)
            self._weight -= _weight(found)
            self._room.set()
            if weight >= BATCH or self._queue.empty():
                return messages
            found = self._queue.get_nowait()

    async def _read(self) -> None:
        try:
            async for message in self._call:
                while self._weight >= 2 * BATCH:
                    self._room.clear()
                    await self._room.wait()
                self._weight += _weight(message)
                self._queue.put_nowait(message)
            self._queue.put_nowait(Unavailable("the element ended its change feed"))
        except grpc.aio.AioRpcError as error:
            self._queue.put_nowait(error)
        except asyncio.CancelledError:
            # grpc raises it too when the channel is closed under the call.
            self._queue.put_nowait(Unavailable("the call was cancelled"))
            raise


def _weight(message: WatchChangesResponse) -> int:
    return max(1, len(message.changes.changes), message.ByteSize() // CHANGE_BYTES)


def token_ended(error: Exception) -> bool:
    """Whether the element ended the stream because its token did."""
    if not isinstance(error, grpc.aio.AioRpcError):
        return False
    return from_rpc_error(error).reason == "TOKEN_EXPIRED"
