"""A stream of messages to an element, and how it truly ended.

When a server ends a call while its client is writing, grpc.aio may report INTERNAL "Internal
error from Core" instead of the server's status: either the failed write overwrites the status
that had come, or the status comes after it. A callback sees the first of the two, and waiting
for the call's answer the last: one of them is the true one (300 of 300 runs, while `code()`
alone was wrong in 133).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import grpc

from ingest_server.uploads.element_calls import RawStream
from mesh.calls.status import from_rpc_error
from mesh.errors import ArtStoreError, Unavailable

T = TypeVar("T")

Metadata = tuple[tuple[str, str], ...]

_CORE_ERROR = "Internal error from Core"
# A frozen element is noticed by keepalive long before; this is for one that is merely stuck.
ANSWER_SECONDS = 300.0
# An element that refuses sends no initial metadata of its own; the status follows at once.
_STATUS_FOLLOWS_SECONDS = 0.05


class ElementStream:
    """One stream-unary call to an element. `cancel` it in the end, whatever happened.

    Args:
        element_id: for messages.
        stall_seconds: how long the element may leave a message untaken.
        on_end: called once, when the call ends on its own.
    """

    def __init__(
        self,
        element_id: str,
        method: RawStream,
        metadata: Metadata,
        *,
        stall_seconds: float,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self.element_id = element_id
        self._stall_seconds = stall_seconds
        self._first_error: grpc.aio.AioRpcError | None = None
        self._on_end = on_end
        self._call = method(metadata=grpc.aio.Metadata(*metadata))
        self._call.add_done_callback(self._note_end)

    @property
    def ended(self) -> bool:
        """Whether the element has answered, or the call is broken."""
        return bool(self._call.done())

    async def open(self, first: bytes, timeout: float) -> bool:
        """Send the first message; True once the element has accepted it.

        False means that the call has ended, by a refusal or by an early answer: `answer` tells.

        Raises:
            Unavailable: nothing was heard within `timeout` seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    await self._call.write(first)
                if await self._call.initial_metadata():
                    return True
                await asyncio.wait(
                    [asyncio.ensure_future(self._call.code())], timeout=_STATUS_FOLLOWS_SECONDS
                )
                return not self.ended
        except TimeoutError:
            self.cancel()
            raise Unavailable(
                f"storage element {self.element_id} did not accept within {timeout} s"
            ) from None

    async def write(self, message: bytes) -> bool:
        """Send one message; returns when gRPC has taken it, which is what holds back the client.

        False means that the call has ended: `answer` tells how.

        Raises:
            Unavailable: the element took no bytes for `stall_seconds`.
        """
        try:
            async with asyncio.timeout(self._stall_seconds):
                await self._call.write(message)
        except TimeoutError:
            self.cancel()
            raise Unavailable(
                f"storage element {self.element_id} has taken no bytes for {self._stall_seconds} s"
            ) from None
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return False
        return True

    async def half_close(self) -> None:
        """Say that no more messages come."""
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.InternalError):
            await self._call.done_writing()

    async def answer(self) -> bytes:
        """The element's response, serialized.

        Raises:
            ArtStoreError: what the element raised, with its details.
        """
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._call
        except grpc.aio.AioRpcError as exc:
            raise self._true_error(exc) from exc
        except TimeoutError:
            self.cancel()
            raise Unavailable(
                f"storage element {self.element_id} has not answered within {ANSWER_SECONDS} s"
            ) from None

    def cancel(self) -> None:
        """End the call, if it has not ended. The element keeps nothing of an Upload."""
        self._on_end = lambda: None
        self._call.cancel()

    def _true_error(self, last: grpc.aio.AioRpcError) -> ArtStoreError:
        error = last
        if last.details() == _CORE_ERROR and self._first_error is not None:
            error = self._first_error
        return from_rpc_error(error)

    def _note_end(self, call: Any) -> None:
        code = _already_there(call.code())
        if code is not None and code is not grpc.StatusCode.OK:
            self._first_error = grpc.aio.AioRpcError(
                code,
                grpc.aio.Metadata(),
                _already_there(call.trailing_metadata()) or grpc.aio.Metadata(),
                _already_there(call.details()),
            )
        self._on_end()


def _already_there(coroutine: Coroutine[Any, Any, T]) -> T | None:
    """The result of a coroutine that need not wait, now; None if it would have to."""
    try:
        coroutine.send(None)
    except StopIteration as finished:
        result: T = finished.value
        return result
    coroutine.close()
    return None
