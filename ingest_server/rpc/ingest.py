"""IngestService, in the order of its proto."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf import message_factory

from artstore.v1 import ingest_pb2, uploads_pb2
from ingest_server.finalization.finalizations import Finalizations
from ingest_server.rpc.incoming import ClientStream
from ingest_server.uploads.resumable import ResumableUploads
from ingest_server.uploads.streamed import StreamedUploads
from mesh.identity.caller import current_file_id

SERVICE = "artstore.v1.IngestService"

_RAW = frozenset({"Upload", "WriteUpload"})

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

    async def Upload(self, requests: object, context: Context) -> bytes:
        """Store a file in one stream."""
        answer = await self._streamed.upload(ClientStream(context))
        current_file_id.set(uploads_pb2.UploadResponse.FromString(answer).file.file_id)
        return answer

    async def StartUpload(
        self, request: uploads_pb2.StartUploadRequest, context: Context
    ) -> uploads_pb2.StartUploadResponse:
        """Open a resumable upload."""
        return await self._resumable.start(request)

    async def WriteUpload(self, requests: object, context: Context) -> bytes:
        """Pass bytes on to the element that has the upload."""
        return await self._resumable.write(ClientStream(context))

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


def add_to_server(servicer: IngestServicer, server: grpc.aio.Server) -> None:
    """Register every method of the service, as the generated function would, but leave the
    messages of the upload streams serialized."""
    handlers = {
        method.name: _handler(getattr(servicer, method.name), method)
        for method in ingest_pb2.DESCRIPTOR.services_by_name["IngestService"].methods
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_registered_method_handlers(SERVICE, handlers)


def _handler(behaviour: Any, method: Any) -> grpc.RpcMethodHandler[Any, Any]:
    if method.name in _RAW:
        return grpc.stream_unary_rpc_method_handler(behaviour)
    request = message_factory.GetMessageClass(method.input_type)
    response = message_factory.GetMessageClass(method.output_type)
    return grpc.unary_unary_rpc_method_handler(
        behaviour,
        request_deserializer=request.FromString,
        response_serializer=response.SerializeToString,
    )
