"""IngestService, in the order of its proto."""

from __future__ import annotations

from typing import Any

import grpc

from artstore.v1 import ingest_pb2, uploads_pb2
from ingest_server.finalization.finalizations import Finalizations
from ingest_server.rpc.incoming import ClientStream
from ingest_server.uploads.resumable import ResumableUploads
from ingest_server.uploads.streamed import StreamedUploads
from mesh.concurrency.hands import Hands
from mesh.identity.caller import current_file_id
from mesh.server.announced import Form

SERVICE = "artstore.v1.IngestService"

# Passed on as they came.
_RAW = Form(None, None)
FORMS = {"Upload": _RAW, "WriteUpload": _RAW}

Context = grpc.aio.ServicerContext[Any, Any]


class IngestServicer:
    """Turns calls into calls of uploads and finalizations. The two streams take and answer raw
    bytes.
    """

    def __init__(
        self, streamed: StreamedUploads, resumable: ResumableUploads, finalizations: Finalizations
    ) -> None:
        self._streamed = streamed
        self._resumable = resumable
        self._finalizations = finalizations
        self._hands = Hands()

    async def Upload(self, requests: object, context: Context) -> bytes:
        """Store a file in one stream."""
        with self._hands.begin() as hand:
            answer = await self._streamed.upload(ClientStream(context, hand))
        current_file_id.set(uploads_pb2.UploadResponse.FromString(answer).file.file_id)
        return answer

    async def StartUpload(
        self, request: uploads_pb2.StartUploadRequest, context: Context
    ) -> uploads_pb2.StartUploadResponse:
        """Open a resumable upload."""
        return await self._resumable.start(request)

    async def WriteUpload(self, requests: object, context: Context) -> bytes:
        """Pass bytes on to the element that has the upload."""
        with self._hands.begin() as hand:
            return await self._resumable.write(ClientStream(context, hand))

    async def GetUpload(
        self, request: uploads_pb2.GetUploadRequest, context: Context
    ) -> uploads_pb2.GetUploadResponse:
        """Say how far an upload is."""
        return await self._resumable.get(request)

    async def CommitUpload(
        self, request: uploads_pb2.CommitUploadRequest, context: Context
    ) -> uploads_pb2.CommitUploadResponse:
        """Make the file of a resumable upload."""
        return await self._resumable.commit(request)

    async def AbortUpload(
        self, request: uploads_pb2.AbortUploadRequest, context: Context
    ) -> uploads_pb2.AbortUploadResponse:
        """End a resumable upload."""
        return await self._resumable.abort(request)

    async def FinalizeFile(
        self, request: ingest_pb2.FinalizeFileRequest, context: Context
    ) -> ingest_pb2.FinalizeFileResponse:
        """Make a temporary file permanent, and have it moved to an element in mode rw."""
        transfer = await self._finalizations.finalize(request)
        current_file_id.set(transfer.file_id)
        return ingest_pb2.FinalizeFileResponse(transfer=transfer)

    async def GetFinalization(
        self, request: ingest_pb2.GetFinalizationRequest, context: Context
    ) -> ingest_pb2.GetFinalizationResponse:
        """Say how far a finalization is."""
        transfer = await self._finalizations.get(request)
        current_file_id.set(transfer.file_id)
        return ingest_pb2.GetFinalizationResponse(transfer=transfer)
