"""Resumable uploads: opened on an element that has room, then passed on to that element.

Ingest keeps nothing of them: an upload_id begins with the id of its element.
"""

from __future__ import annotations

from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError

from artstore.v1 import uploads_pb2
from ingest_server.metrics import uploads
from ingest_server.uploads.element_calls import ElementCalls, ElementConnections
from ingest_server.uploads.element_metadata import metadata_for_element
from ingest_server.uploads.element_stream import ElementStream
from ingest_server.uploads.forwarding import Forwarding, Incoming
from ingest_server.uploads.header import check_header
from ingest_server.uploads.placing import Placement
from ingest_server.uploads.streamed import Limits
from ingest_server.uploads.whereabouts import Whereabouts
from mesh.calls.status import from_rpc_error
from mesh.elements.seen import SeenElement
from mesh.elements.view import ElementView
from mesh.errors import InvalidArgument, NotFound, ResourceExhausted, Unauthenticated
from mesh.identity.caller import current_caller
from mesh.identity.credentials import ElementTokens

CALL_SECONDS = 5.0
# A commit on S3 after a restart of the element reads the whole object again.
COMMIT_SECONDS = 600.0

Request = TypeVar("Request")
Response = TypeVar("Response")


class ResumableUploads:
    """Serves StartUpload, WriteUpload, GetUpload, CommitUpload and AbortUpload."""

    def __init__(
        self,
        placement: Placement,
        elements: ElementView,
        connections: ElementConnections,
        tokens: ElementTokens,
        limits: Limits,
    ) -> None:
        self._placement = placement
        self._elements = elements
        self._connections = connections
        self._tokens = tokens
        self._limits = limits
        self._whereabouts = Whereabouts(elements, connections, tokens)

    async def start(
        self, request: uploads_pb2.StartUploadRequest
    ) -> uploads_pb2.StartUploadResponse:
        """Open a resumable upload.

        Raises:
            ArtStoreError: see `Placement.place`.
        """
        check_header(request.header)

        async def attempt(
            element: SeenElement,
        ) -> uploads_pb2.StartUploadResponse:
            calls = self._connections.to(element.endpoint)
            response = await self._call(element, calls.start_upload, request, self._limits.accept)
            # Whatever it says of itself: clients send their tokens where it was admitted.
            response.endpoint = element.endpoint
            return response

        async def discard(response: uploads_pb2.StartUploadResponse) -> None:
            """Leave it: idle uploads are dropped, and aborting one could hit a repeat's."""

        try:
            placed = await self._placement.place(
                request.header, current_caller().subject, attempt, discard
            )
        except ResourceExhausted:
            uploads.labels("StartUpload", "refused").inc()
            raise
        except Exception:
            uploads.labels("StartUpload", "failed").inc()
            raise
        uploads.labels("StartUpload", "started").inc()
        return placed.opened

    async def write(self, incoming: Incoming) -> bytes:
        """Pass the bytes of a resumable upload on and return the element's serialized answer.

        Raises:
            ArtStoreError: what the element raised, or what became of it.
        """
        forwarding = Forwarding(incoming, idle_seconds=self._limits.idle, kept=None)
        first = await forwarding.first()
        element = await self._element_of(_upload_id_in(first))
        stream = ElementStream(
            element.element_id,
            self._connections.to(element.endpoint).write_upload,
            await metadata_for_element(self._tokens, element.element_id),
            stall_seconds=self._limits.stall,
            on_end=forwarding.element_ended,
        )
        try:
            if await stream.open(first or b"", self._limits.accept):
                await incoming.accept()
                return await forwarding.run(stream)
            return await stream.answer()
        except Unauthenticated:
            self._tokens.refused(element.element_id)
            raise
        finally:
            stream.cancel()

    async def get(self, request: uploads_pb2.GetUploadRequest) -> uploads_pb2.GetUploadResponse:
        """Ask the element how far an upload is."""
        element, calls = await self._calls_for(request.upload_id)
        answer = await self._call(element, calls.get_upload, request, CALL_SECONDS)
        if answer.HasField("file"):
            answer.file.CopyFrom(await self._whereabouts.home_of(answer.file))
        return answer

    async def commit(
        self, request: uploads_pb2.CommitUploadRequest
    ) -> uploads_pb2.CommitUploadResponse:
        """Have the element make the file."""
        element, calls = await self._calls_for(request.upload_id)
        answer = await self._call(element, calls.commit_upload, request, COMMIT_SECONDS)
        answer.file.CopyFrom(await self._whereabouts.home_of(answer.file))
        return answer

    async def abort(
        self, request: uploads_pb2.AbortUploadRequest
    ) -> uploads_pb2.AbortUploadResponse:
        """Have the element drop an upload."""
        element, calls = await self._calls_for(request.upload_id)
        return await self._call(element, calls.abort_upload, request, CALL_SECONDS)

    async def _call(
        self,
        element: SeenElement,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        timeout: float,
    ) -> Response:
        metadata = await metadata_for_element(self._tokens, element.element_id)
        try:
            return await method(request, metadata=grpc.aio.Metadata(*metadata), timeout=timeout)
        except grpc.aio.AioRpcError as exc:
            if exc.code() == grpc.StatusCode.UNAUTHENTICATED:
                self._tokens.refused(element.element_id)
            raise from_rpc_error(exc) from exc

    async def _calls_for(self, upload_id: str) -> tuple[SeenElement, ElementCalls]:
        element = await self._element_of(upload_id)
        return element, self._connections.to(element.endpoint)

    async def _element_of(self, upload_id: str) -> SeenElement:
        """The element that an upload_id names.

        Raises:
            InvalidArgument: there is no upload_id.
            NotFound: no element has that name.
            Unavailable: the element is not known here, and admin is away.
        """
        if not upload_id:
            raise InvalidArgument("upload_id is empty", field="upload_id")
        element_id, dot, _ = upload_id.partition(".")
        element = await self._elements.find(element_id) if dot else None
        if element is None:
            raise NotFound("there is no such upload")
        return element


def _upload_id_in(message: bytes | None) -> str:
    request = uploads_pb2.WriteUploadRequest()
    try:
        request.ParseFromString(message or b"")
    except DecodeError:
        raise InvalidArgument("the first message cannot be read", field="upload_id") from None
    return request.upload_id
