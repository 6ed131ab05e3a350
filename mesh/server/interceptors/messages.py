"""The messages of one call, both ways, within the limits of its method.

Every method is served as a stream of requests, whatever the contract says of it: only so the
message is read, unpacked and parsed after its sender is known, and not waited for without end.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc.aio
from google.protobuf.message import DecodeError

from mesh.concurrency.watched import seen
from mesh.errors import InvalidArgument, ResourceExhausted
from mesh.identity.call_limits import MethodLimits
from mesh.server.interceptors.lists import ListCheck, check_of

Context = grpc.aio.ServicerContext[Any, Any]
Parse = Callable[[bytes], Any]

# No message of protobuf begins so.
_GZIP = b"\x1f\x8b"
_GZIP_WINDOW = 31
# Within so long a client that left is known to have.
GONE_SECONDS = 0.1
RETRY_SECONDS = 1.0


class Messages:
    """Stands before a call's context, which answers whatever else is asked.

    A `read` may be cut off: what it would have answered the next one answers. (grpc loses the
    message of a read that is cancelled, and takes no other read until it has come.)

    Args:
        parse: of the method; None leaves bytes as they are.
        on_first: called when the first message has come.
    """

    def __init__(self, context: Context, parse: Parse | None, limits: MethodLimits) -> None:
        self._context = context
        self._parse = parse
        self._limits = limits
        self._reading: asyncio.Future[Any] | None = None
        self._came = False
        self.on_first: Callable[[], None] | None = None
        # Waits until one more message may be written.
        self.turn: Callable[[], Awaitable[None]] | None = None
        # Whether the caller leaves an answer lying: then no status reaches him either, until he
        # takes it.
        self.stuck = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def one(self) -> Any:
        """The message of a call that has one."""
        limits = self._limits
        try:
            async with asyncio.timeout(limits.first_message_seconds):
                data = await self._context.read()
        except TimeoutError:
            raise _no_message(limits) from None
        if data is grpc.aio.EOF:
            # A client that left looks as one that has ended without a message.
            await asyncio.sleep(GONE_SECONDS)
            raise InvalidArgument("the call ended without its message")
        return self._taken(data)

    async def read(self) -> Any:
        """The next message of a stream of requests, or EOF."""
        limits = self._limits
        ahead = self._reading
        if ahead is not None and ahead.done():
            self._reading = None
            data = ahead.result()
            return data if data is grpc.aio.EOF else self._taken(data)
        try:
            async with asyncio.timeout(
                limits.silence_seconds if self._came else limits.first_message_seconds
            ):
                data = await self.rest()
        except TimeoutError:
            raise (_silent(limits) if self._came else _no_message(limits)) from None
        return data if data is grpc.aio.EOF else self._taken(data)

    async def rest(self) -> Any:
        """The next message as it came, whatever it is, or EOF."""
        self.ask_ahead()
        reading = self._reading
        assert reading is not None
        try:
            data = await asyncio.shield(reading)
        except asyncio.CancelledError:
            if reading.cancelled():
                self._reading = None
            raise
        except BaseException:
            self._reading = None
            raise
        self._reading = None
        return data

    def ask_ahead(self) -> None:
        """Ask for the next message, which the next `read` answers."""
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._context.read())
            self._reading.add_done_callback(seen)

    async def all(self) -> AsyncIterator[Any]:
        """The stream of requests."""
        while (message := await self.read()) is not grpc.aio.EOF:
            yield message

    async def write(self, message: Any) -> None:
        """Write the next message of a stream of answers."""
        if self.turn is not None:
            await self.turn()
        try:
            async with asyncio.timeout(self._limits.stuck_write_seconds):
                await self._context.write(message)
        except TimeoutError:
            self.stuck = True
            raise _stuck(self._limits) from None

    def _taken(self, data: bytes) -> Any:
        if not self._came:
            self._came = True
            if self.on_first is not None:
                self.on_first()
        most = self._limits.request_bytes
        if len(data) > most:
            raise _too_large(most)
        if self._parse is None:
            return data
        try:
            message = self._parse(_unpacked(data, most) if data[:2] == _GZIP else data)
        except (DecodeError, zlib.error) as exc:
            raise InvalidArgument(
                "the message cannot be read: it is not of the type of this call"
            ) from exc
        check = _check_of(type(message))
        if check is not None:
            check(message, self._limits)
        return message


def _check_of(kind: type[Any]) -> ListCheck | None:
    descriptor = getattr(kind, "DESCRIPTOR", None)
    return None if descriptor is None else check_of(descriptor)


def _unpacked(data: bytes, most: int) -> bytes:
    """What was packed by gzip, unless that is too much."""
    unpacking = zlib.decompressobj(wbits=_GZIP_WINDOW)
    plain = unpacking.decompress(data, most + 1)
    if len(plain) > most:
        raise _too_large(most)
    return plain


def _too_large(most: int) -> ResourceExhausted:
    return ResourceExhausted(
        f"a message of this call has at most {most} bytes: send less at a time",
        reason="MESSAGE_TOO_LARGE",
        metadata={"max_bytes": str(most)},
    )


def _no_message(limits: MethodLimits) -> ResourceExhausted:
    return ResourceExhausted(
        f"no message came within {limits.first_message_seconds:g} s: begin the call when there is"
        " something to send",
        retry_after_seconds=RETRY_SECONDS,
        reason="NO_MESSAGE",
    )


def _silent(limits: MethodLimits) -> ResourceExhausted:
    return ResourceExhausted(
        f"nothing came for {limits.silence_seconds:g} s: begin again, or go on with what can be"
        " gone on with",
        retry_after_seconds=RETRY_SECONDS,
        reason="SILENCE",
    )


def _stuck(limits: MethodLimits) -> ResourceExhausted:
    return ResourceExhausted(
        f"an answer was not taken for {limits.stuck_write_seconds:g} s: read faster, or ask for"
        " less",
        retry_after_seconds=RETRY_SECONDS,
        reason="STUCK_WRITE",
    )
