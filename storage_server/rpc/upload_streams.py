"""The request streams of uploads: read, handed on piece by piece, ended from either side.

A stream that ends without `finish` commits nothing: cancel, deadline and a dead client look
like its end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import grpc

from artstore.v1 import uploads_pb2
from mesh.calls.draining import drain
from mesh.concurrency.hands import Hand
from mesh.concurrency.unbroken import Unbroken
from mesh.concurrency.watched import seen
from mesh.contract import ACCEPTED
from mesh.errors import ArtStoreError, InvalidArgument
from mesh.framing import Piece
from storage_server.rpc.messages import optional
from storage_server.uploads.resumable import ResumableUpload, UploadWriter
from storage_server.uploads.streamed import StreamedUpload
from storage_server.writing.view import FileView

T = TypeVar("T")

# A stream that is sending meets its interruption at its next message by itself; only then
# does the client certainly see the status. One that is silent is ended from outside.
NOTICE_SECONDS = 0.1
DISCARD_SECONDS = 1.0
# Whoever ends a stream does so together with its last message.
END_SECONDS = 2.0
# For `drain`: a client that was told to send has far more on its way than one that was not.
DRAIN_SECONDS = 3.0
SILENCE_SECONDS = 0.1

Context = grpc.aio.ServicerContext[Any, Any]


def deadline_of(context: Context) -> float | None:
    """The caller's, in seconds of `time.monotonic`; None when it has none."""
    seconds = context.time_remaining()
    return None if seconds is None else time.monotonic() + seconds


async def receive(
    stream: StreamedUpload, context: Context, unbroken: Unbroken, *, hand: Hand
) -> FileView:
    """Everything after the header of an Upload; leaves nothing unless it ended with `finish`.

    Args:
        hand: what is read comes into it.
    """
    reader = _Reader(context, hand)
    try:
        await context.send_initial_metadata(ACCEPTED)
        return await reader.until_interrupted(
            _receive(stream, reader, deadline_of(context)), stream.interrupted
        )
    except ArtStoreError:
        await _leave_nothing(stream, unbroken)
        await reader.drain()
        raise
    finally:
        hand.close()
        await _leave_nothing(stream, unbroken)


async def _leave_nothing(stream: StreamedUpload, unbroken: Unbroken) -> None:
    if not stream.is_over:
        unbroken.begin(stream.discard())
        # A storage that is silent holds up the removal, not the status.
        with suppress(TimeoutError):
            async with asyncio.timeout(DISCARD_SECONDS):
                await stream.until_over()


async def _receive(stream: StreamedUpload, reader: _Reader, deadline: float | None) -> FileView:
    read, write = reader.read, stream.write
    while True:
        message = await read()
        if message is grpc.aio.EOF:
            raise InvalidArgument(
                "the stream ended without `finish`; nothing was stored", field="finish"
            )
        if not isinstance(message, Piece):
            kind = message.WhichOneof("payload")
            if kind == "finish":
                finish = message.finish
                await reader.require_end()
                return await stream.finish(
                    optional(finish, "size_bytes"), optional(finish, "sha256"), deadline=deadline
                )
            if kind != "chunk":
                raise InvalidArgument("expected `chunk` or `finish`", field="payload")
            message = Piece.of(message.chunk)
        await write(*message)
        # Nothing of it is held while the client is silent.
        del message


async def receive_more(
    read: list[uploads_pb2.WriteUploadRequest | Piece],
    upload: ResumableUpload,
    writer: UploadWriter,
    context: Context,
    unbroken: Unbroken,
    *,
    hand: Hand,
) -> int:
    """A WriteUpload; answers the bytes on record at its end.

    Args:
        read: its first message, which is taken out: nobody holds it while the client is silent.
        hand: what is read comes into it.
    """
    reader = _Reader(context, hand)
    try:
        await context.send_initial_metadata(ACCEPTED)
        await reader.until_interrupted(
            _receive_more(read.pop(), upload, writer, reader), writer.interrupted
        )
    except BaseException as exc:
        # What came is kept, however the stream ended; its own error is the one to tell.
        unbroken.begin(_end_quietly(upload, writer))
        if isinstance(exc, ArtStoreError):
            await reader.drain()
        raise
    finally:
        hand.close()
    return await unbroken.run(upload.end(writer))


async def _receive_more(
    message: Any, upload: ResumableUpload, writer: UploadWriter, reader: _Reader
) -> None:
    upload_id = upload.upload_id
    read, write = reader.read, upload.write
    while message is not grpc.aio.EOF:
        if not isinstance(message, Piece):
            if message.upload_id and message.upload_id != upload_id:
                raise InvalidArgument("a stream is of one upload", field="upload_id")
            message = Piece.of(message.chunk) if message.HasField("chunk") else None
        if message is not None:
            await write(writer, *message)
        message = None
        message = await read()


async def _end_quietly(upload: ResumableUpload, writer: UploadWriter) -> None:
    try:
        await upload.end(writer)
    except ArtStoreError:
        return


class _Reader:
    """Reads a stream, and stops its work between two messages.

    A write is never cancelled half-way: what of it the stage has taken would not be known.
    """

    def __init__(self, context: Context, hand: Hand) -> None:
        self._read = context.read
        self._ask_ahead: Callable[[], None] = getattr(context, "ask_ahead", _do_not)
        self._hand = hand
        self._reading = False
        self._stopped = False
        self._cut = False

    async def read(self) -> Any:
        """The next message, or EOF."""
        await self._hand.ask()
        if self._stopped:
            raise asyncio.CancelledError
        self._reading = True
        try:
            message = await self._read()
        finally:
            self._reading = False
        self._hand.hold()
        if self._hand.may_ask_ahead:
            self._ask_ahead()
        return message

    async def require_end(self) -> None:
        """Make sure that `finish` was the last message: whoever sends more means something else.

        A client that leaves its stream open has ended it as well.

        Raises:
            InvalidArgument: another message follows.
        """
        self._reading = True
        try:
            async with asyncio.timeout(END_SECONDS):
                if await self._read() is grpc.aio.EOF:
                    return
        except TimeoutError:
            self._cut = True
            return
        finally:
            self._reading = False
        raise InvalidArgument(
            "a message follows `finish`; nothing was stored, send `finish` last", field="finish"
        )

    async def drain(self) -> None:
        """Drop what the client still sends, until its status will surely reach it."""
        if not self._cut:
            await drain(self._read, seconds=DRAIN_SECONDS, silence_seconds=SILENCE_SECONDS)

    async def until_interrupted(
        self, work: Coroutine[Any, Any, T], interrupted: asyncio.Future[ArtStoreError]
    ) -> T:
        """The result of `work`, which reads here, or the error it is interrupted with."""
        task = asyncio.ensure_future(work)
        try:
            either: list[asyncio.Future[Any]] = [task, interrupted]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                await asyncio.wait({task}, timeout=NOTICE_SECONDS)
            if task.done():
                return task.result()
            raise interrupted.result()
        finally:
            await self._stop(task)

    async def _stop(self, task: asyncio.Task[T]) -> None:
        self._stopped = True
        self._hand.give_up()
        if not task.done():
            if self._reading:
                # The client is silent, and core allows no other read while one is cut off.
                self._cut = True
                task.cancel()
            await asyncio.wait({task})
        # A caller that left does not fetch its error.
        seen(task)


def _do_not() -> None:
    return


async def first_message(context: Context, what: str) -> Any:
    """The first message of a stream.

    Raises:
        InvalidArgument: there is none.
    """
    message = await context.read()
    if message is grpc.aio.EOF:
        raise InvalidArgument(f"the stream ended before its {what}", field=what)
    return message
