"""Upload: a file in one stream, from the client through to an element."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from artstore.v1.uploads_pb2 import UploadResponse
from ingest_server.metrics import uploads
from ingest_server.uploads.element_calls import ElementConnections
from ingest_server.uploads.element_metadata import metadata_for_element
from ingest_server.uploads.element_stream import ElementStream
from ingest_server.uploads.forwarding import Forwarding, Incoming
from ingest_server.uploads.header import header_of
from ingest_server.uploads.kept import KeptUploads
from ingest_server.uploads.placing import Placed, Placement
from ingest_server.uploads.whereabouts import Whereabouts
from mesh.concurrency.background import Background
from mesh.elements.seen import SeenElement
from mesh.errors import (
    Aborted,
    ArtStoreError,
    FailedPrecondition,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from mesh.identity.caller import current_caller
from mesh.identity.credentials import ElementTokens

# By these an element says, after it has accepted an upload, that it stored nothing of it and that
# another element may take it.
_ELSEWHERE = frozenset({"STORE_READ_ONLY", "STORAGE_FULL", "NO_SPACE", "MODE", "UPLOAD_SHARE"})


@dataclass(frozen=True, slots=True)
class Limits:
    """How long ingest waits in the course of a stream, in seconds.

    Attributes:
        accept: for an element to accept an upload.
        stall: for an element to take a message.
        idle: for a client to send one.
    """

    accept: float
    stall: float
    idle: float


@dataclass(frozen=True, slots=True)
class AcceptedStream:
    """A stream whose first message the element has; `answer` if it has answered already."""

    stream: ElementStream
    answer: bytes | None


class StreamedUploads:
    """Serves IngestService.Upload."""

    def __init__(
        self,
        placement: Placement,
        connections: ElementConnections,
        tokens: ElementTokens,
        background: Background,
        limits: Limits,
        *,
        whereabouts: Whereabouts,
    ) -> None:
        self._placement = placement
        self._connections = connections
        self._tokens = tokens
        self._background = background
        self._limits = limits
        self._whereabouts = whereabouts
        self._kept = KeptUploads()

    async def upload(self, incoming: Incoming) -> bytes:
        """Pass one upload through and return the element's serialized answer.

        The client is told to go on once an element has accepted the header; until then, and as
        long as all that was forwarded is still here, refusals by elements are between ingest and
        them.

        Raises:
            ArtStoreError: see `Placement.place`; later, what the element raised.
            InvalidArgument: the client's stream ended without `finish`.
            Aborted: the client was idle too long.
        """
        outcome = "failed"
        try:
            answer = await self._upload(incoming)
            outcome = "stored"
            return await self._at_home(answer)
        except ResourceExhausted:
            outcome = "refused"
            raise
        except asyncio.CancelledError:
            outcome = "cut"
            raise
        finally:
            uploads.labels("Upload", outcome).inc()

    async def _at_home(self, answer: bytes) -> bytes:
        """The answer to a repeat, with its file as it is where it lives by now."""
        response = UploadResponse.FromString(answer)
        home = await self._whereabouts.home_of(response.file)
        if home is response.file:
            return answer
        response.file.CopyFrom(home)
        return response.SerializeToString()

    async def _upload(self, incoming: Incoming) -> bytes:
        kept = self._kept.begin()
        forwarding = Forwarding(incoming, idle_seconds=self._limits.idle, kept=kept)
        try:
            return await self._forward_somewhere(incoming, forwarding)
        finally:
            forwarding.close()

    async def _forward_somewhere(self, incoming: Incoming, forwarding: Forwarding) -> bytes:
        first = await forwarding.first()
        header = header_of(first)
        gave_up: dict[str, ArtStoreError] = {}

        async def attempt(element: SeenElement) -> AcceptedStream:
            if element.element_id in gave_up:
                raise gave_up[element.element_id]
            return await self._open(element, first or b"", forwarding)

        async def accept() -> None:
            if not gave_up:
                await incoming.accept()

        while True:
            placed = await self._placement.place(
                header, current_caller().subject, attempt, _discard
            )
            try:
                return await self._forward(placed, forwarding, accept)
            except (FailedPrecondition, ResourceExhausted) as exc:
                if exc.reason not in _ELSEWHERE or not forwarding.rewind():
                    raise
                gave_up[placed.element.element_id] = exc

    async def _forward(
        self,
        placed: Placed[AcceptedStream],
        forwarding: Forwarding,
        accept: Callable[[], Awaitable[None]],
    ) -> bytes:
        opened = placed.opened
        try:
            if opened.answer is not None:
                return opened.answer
            await accept()
            return await forwarding.run(opened.stream)
        except BaseException as exc:
            self._unpin(placed, forwarding, exc)
            raise
        finally:
            opened.stream.cancel()

    async def _open(
        self, element: SeenElement, first: bytes, forwarding: Forwarding
    ) -> AcceptedStream:
        stream = ElementStream(
            element.element_id,
            self._connections.to(element.endpoint).upload,
            await metadata_for_element(self._tokens, element.element_id),
            stall_seconds=self._limits.stall,
            on_end=forwarding.element_ended,
        )
        try:
            if await stream.open(first, self._limits.accept):
                return AcceptedStream(stream, None)
            return AcceptedStream(stream, await stream.answer())
        except BaseException as exc:
            if isinstance(exc, Unauthenticated):
                self._tokens.refused(element.element_id)
            stream.cancel()
            raise

    def _unpin(
        self, placed: Placed[AcceptedStream], forwarding: Forwarding, error: BaseException
    ) -> None:
        """Free the request_id for any element, if surely nothing was stored."""
        answered = isinstance(error, ArtStoreError) and not isinstance(error, Unavailable | Aborted)
        if placed.pin is not None and (answered or not forwarding.finish_sent):
            self._background.once("release pin", self._placement.unpin(placed.pin))


async def _discard(opened: AcceptedStream) -> None:
    opened.stream.cancel()
