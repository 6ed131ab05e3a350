"""A change feed as it comes in, in batches."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import grpc
import grpc.aio

from artstore.v1 import storage_pb2 as pb
from mesh.errors import Unavailable

BATCH = 1000
# Heartbeats come every three seconds.
SILENCE_SECONDS = 10.0


class FeedStream:
    """Messages of one call in order; `push_back` what belongs to whoever reads on.

    Use it with `async with`: leaving the block ends the call.
    """

    def __init__(
        self, call: grpc.aio.UnaryStreamCall[pb.WatchChangesRequest, pb.WatchChangesResponse]
    ) -> None:
        self._call = call
        self._queue: asyncio.Queue[pb.WatchChangesResponse | Exception] = asyncio.Queue(2 * BATCH)
        self._left: list[pb.WatchChangesResponse] = []
        self._failure: Exception | None = None
        self._reader = asyncio.create_task(self._read(), name="read a change feed")

    async def __aenter__(self) -> FeedStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        # The reader first: a parked reader leaks the connection when the call ends under it.
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        self._call.cancel()

    def push_back(self, messages: list[pb.WatchChangesResponse]) -> None:
        """The next batch begins with these."""
        self._left = messages + self._left

    async def batch(self) -> list[pb.WatchChangesResponse]:
        """What has come since the last batch, at least one message; waits for it.

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
        messages = []
        while True:
            if isinstance(found, Exception):
                self._failure = found
                if messages:
                    return messages
                raise found
            messages.append(found)
            if len(messages) >= BATCH or self._queue.empty():
                return messages
            found = self._queue.get_nowait()

    async def _read(self) -> None:
        try:
            async for message in self._call:
                await self._queue.put(message)
            await self._queue.put(Unavailable("the element ended its change feed"))
        except grpc.aio.AioRpcError as error:
            await self._queue.put(error)
        except asyncio.CancelledError:
            # grpc raises it too when the channel is closed under the call.
            with suppress(asyncio.QueueFull):
                self._queue.put_nowait(Unavailable("the call was cancelled"))
            raise
