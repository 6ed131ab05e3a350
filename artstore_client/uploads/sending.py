"""One request stream: first message, the server's word, then the rest.

A server that refuses answers with a status and no initial metadata. Had we gone on writing, the
status would be lost: core reports INTERNAL for a call that ended while a message was on its way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Generic, TypeVar

import grpc.aio

from artstore_client.calls.calls import Calls
from artstore_client.calls.waiting import Open
from artstore_client.calls.watchdog import IdleWatchdog
from artstore_client.contract import ACCEPTED_KEY

Request = TypeVar("Request")
Response = TypeVar("Response")

# A proxy may drop the key: then no status within this time is taken for "accepted".
QUIET_REFUSAL_SECONDS = 0.05


async def send_stream(
    calls: Calls,
    method: grpc.aio.StreamUnaryMultiCallable[Request, Response],
    first: Request,
    rest: AsyncGenerator[Request | bytes, None],
    *,
    doing: str,
    upload_token: str = "",
) -> Response:
    """Send `first`, wait until the server accepts it, send `rest`, answer what it answers.

    `rest` is not begun when the server refuses, and is closed in any case. What it gives may be
    serialized already (`artstore_client.calls.streams`).

    Raises:
        ArtStoreError: mirrors the status; DeadlineExceeded when the server stood still.
        Exception: whatever `rest` raised.
    """
    metadata = await calls.metadata(upload_token)
    feed = _Feed(first, rest)
    messages: Any = feed.messages
    call = method(messages, metadata=metadata)
    feed.watchdog = watchdog = IdleWatchdog(call.cancel, calls.timeouts.idle)
    feed.silence_at_end = calls.timeouts.commit
    try:
        with calls.waits.on(doing) as feed.waiting:
            feed.go.set_result(await _accepted(call))
            return await call
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            calls.refuse_token(metadata)
        raise calls.error(error, doing) from error
    except asyncio.CancelledError:
        if feed.error is not None:
            raise feed.error from None
        watchdog.raise_if_fired(doing)
        raise
    finally:
        watchdog.close()
        call.cancel()
        await feed.close()


async def _accepted(call: grpc.aio.StreamUnaryCall[Request, Response]) -> bool:
    if (await call.initial_metadata()).get(ACCEPTED_KEY) is not None:
        return True
    ended = asyncio.ensure_future(call.code())
    done, _ = await asyncio.wait([ended], timeout=QUIET_REFUSAL_SECONDS)
    ended.cancel()
    return not done


class _Feed(Generic[Request]):
    """The request iterator that core reads, in a task of its own."""

    def __init__(self, first: Request, rest: AsyncGenerator[Request | bytes, None]) -> None:
        self._first = first
        self._rest = rest
        self._task: asyncio.Task[object] | None = None
        self.go: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.error: Exception | None = None
        # Held here: one that core dropped would be closed later, by the loop, in another task.
        self.messages = self._all_messages()
        self.watchdog: IdleWatchdog
        self.waiting: Open
        self.silence_at_end = 0.0

    async def _all_messages(self) -> AsyncGenerator[Request | bytes, None]:
        self._task = asyncio.current_task()
        yield self._first
        if not await self.go:
            return
        try:
            async with aclosing(self._rest) as rest:
                # A slow source is not a silent server.
                self._pause()
                async for message in rest:
                    self._touch()
                    yield message
                    self._pause()
        except Exception as error:
            # Core turns any exception of a request iterator into a cancellation.
            self.error = error
            raise
        self.watchdog.allow(self.silence_at_end)
        self.waiting.moved()

    def _pause(self) -> None:
        self.watchdog.pause()
        self.waiting.pause()

    def _touch(self) -> None:
        self.watchdog.touch()
        self.waiting.moved()

    async def close(self) -> None:
        """End the task of a call that is over, so that nothing reads the source any more."""
        if not self.go.done():
            self.go.set_result(False)
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
        await self.messages.aclose()
        await self._rest.aclose()
