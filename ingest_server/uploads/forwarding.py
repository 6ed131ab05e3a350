"""Passes the messages of a client's stream on to an element, one at a time.

A message is read only when the one before has been taken by gRPC towards the element, so a
slow element holds back the client by flow control, and memory stays flat.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from ingest_server.metrics import forwarded_bytes
from ingest_server.uploads.element_stream import ElementStream
from ingest_server.uploads.kept import KeptMessages
from mesh.errors import Aborted, InvalidArgument

# Field 3 (finish), length-delimited: how a message that holds it begins.
_FINISH_TAG = b"\x1a"
# Whoever ends a stream does so together with its last message.
END_SECONDS = 2.0


class Incoming(Protocol):
    """A client's stream of serialized messages."""

    async def read(self) -> bytes | None:
        """The next message; None at the end, which a client that went away looks like."""

    async def accept(self) -> None:
        """Tell the client that it may send on."""


class Forwarding:
    """One stream on its way from a client to an element.

    Args:
        idle_seconds: how long the client may send nothing.
        kept: of an Upload, where only `finish` ends the stream in good order; None for
            WriteUpload, where any end does.

    `finish_sent` says whether the element may have committed the file.

    What was forwarded is kept as long as it is little, so that another element can have it when
    the first one takes it after all not: `rewind`, then `run` with the other's stream.
    """

    def __init__(
        self, incoming: Incoming, *, idle_seconds: float, kept: KeptMessages | None
    ) -> None:
        self.finish_sent = False
        self._incoming = incoming
        self._idle_seconds = idle_seconds
        self._ends_by_finish = kept is not None
        self._reading: asyncio.Timeout | None = None
        self._kept = kept
        self._ahead: asyncio.Future[bytes | None] | None = None

    async def first(self) -> bytes | None:
        """The client's first message; None if there is none.

        Raises:
            Aborted: it did not come in time.
        """
        return await self._read()

    def close(self) -> None:
        """Read no more of the client's messages, and keep none."""
        if self._kept is not None:
            self._kept.forget()
        if self._ahead is not None:
            self._ahead.cancel()

    def element_ended(self) -> None:
        """The element's call has ended: stop waiting for the client's next message."""
        # One that is expiring at this very moment need not be told.
        if self._reading is not None and not self._reading.expired():
            self._reading.reschedule(asyncio.get_running_loop().time())

    async def run(self, stream: ElementStream) -> bytes:
        """Forward until the end and return the element's serialized answer.

        Raises:
            ArtStoreError: what the element raised, or what became of it.
            InvalidArgument: the client's stream ended without `finish`, or went on after it.
            Aborted: the client was idle too long.
        """
        while not stream.ended:
            message = None if self._kept is None else self._kept.again()
            if message is None:
                message = await self._next(stream)
                if message is not None and self._kept is not None:
                    self._kept.add(message)
            if stream.ended:
                break
            if message is None:
                self._check_end()
                await stream.half_close()
                break
            last = self._ends_by_finish and is_finish(message)
            if last:
                await self._require_end()
            # Before the write: once it is under way, the element may have it.
            self.finish_sent = last
            if not await stream.write(message):
                break
            forwarded_bytes.inc(len(message))
            # Nothing of it is held while the client is silent.
            del message
            if last:
                await stream.half_close()
                break
        return await stream.answer()

    def rewind(self) -> bool:
        """Begin again with the next stream; False when not everything is kept.

        Only after an element has said that it stored nothing.
        """
        self.finish_sent = False
        return self._kept is not None and self._kept.rewind()

    async def _next(self, stream: ElementStream) -> bytes | None:
        try:
            return await self._read()
        except Aborted:
            if stream.ended:
                return None
            raise

    async def _read(self) -> bytes | None:
        try:
            async with asyncio.timeout(self._idle_seconds) as self._reading:
                if self._ahead is None and (self._kept is None or not self._kept.is_whole):
                    return await self._incoming.read()
                return await self._read_unbroken()
        except TimeoutError:
            raise Aborted(
                f"the client sent nothing for {self._idle_seconds} s", reason="IDLE"
            ) from None
        finally:
            self._reading = None

    async def _read_unbroken(self) -> bytes | None:
        """A read that the end of an element's call leaves under way, for the next element: core
        allows no other one once a read was cut off. Costs a task for each message.
        """
        if self._ahead is None:
            self._ahead = asyncio.ensure_future(self._incoming.read())
        message = await asyncio.shield(self._ahead)
        self._ahead = None
        return message

    async def _require_end(self) -> None:
        """Make sure that `finish` was the last message, before the element sees it.

        A client that leaves its stream open has ended it as well.
        """
        try:
            async with asyncio.timeout(END_SECONDS):
                if await self._incoming.read() is None:
                    return
        except TimeoutError:
            return
        raise InvalidArgument(
            "a message follows `finish`; nothing was stored, send `finish` last", field="finish"
        )

    def _check_end(self) -> None:
        # A broken connection looks like an end, so the element must not see one.
        if self._ends_by_finish:
            raise InvalidArgument(
                "the stream ended without `finish`; nothing was stored", field="finish"
            )


def is_finish(message: bytes) -> bool:
    """Whether a serialized message of an upload stream is `finish`, by its first byte.

    A message that only looks like it does no harm: the element decides what it commits.
    """
    return message[:1] == _FINISH_TAG
