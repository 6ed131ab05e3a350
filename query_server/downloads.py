"""Bytes of a file, from an element that has it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

import grpc
import grpc.aio

from artstore.v1 import query_pb2, storage_pb2
from artstore.v1.storage_pb2_grpc import StorageServiceStub
from mesh.channels import open_mesh_channel
from mesh.errors import Unavailable
from mesh.settings import MeshSettings
from mesh.status import from_rpc_error

# An element that is frozen takes the call and never answers.
ANSWER_SECONDS = 8.0
IDLE_SECONDS = 30.0

Metadata = Sequence[tuple[str, str]]


class Downloads:
    """Passes downloads on to elements, one long-lived channel for each address."""

    def __init__(self, settings: MeshSettings) -> None:
        self._settings = settings
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def close(self) -> None:
        """Close the channels."""
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()

    async def stream(
        self,
        request: query_pb2.DownloadFileRequest,
        *,
        elements: Sequence[str],
        endpoints: Mapping[str, str],
        metadata: Metadata,
    ) -> AsyncIterator[query_pb2.DownloadFileResponse]:
        """The parts of a download, from the first element that gives its first part.

        Raises:
            ArtStoreError: what the last element answered; Unavailable when none is known.
        """
        failure: Exception = Unavailable("no element that has the file is known at the moment")
        asked = storage_pb2.DownloadRequest(
            file_id=request.file_id, offset=request.offset, length=request.length
        )
        for element_id in elements:
            endpoint = endpoints.get(element_id)
            if endpoint is None:
                continue
            call = StorageServiceStub(self._channel(endpoint)).Download(asked, metadata=metadata)
            started = False
            try:
                parts = aiter(call)
                while True:
                    async with asyncio.timeout(IDLE_SECONDS if started else ANSWER_SECONDS):
                        part = await anext(parts, None)
                    if part is None:
                        return
                    started = True
                    yield _translated(part)
            except TimeoutError as error:
                failure = Unavailable(f"storage element {element_id} does not answer")
                if started:
                    raise failure from error
            except grpc.aio.AioRpcError as error:
                failure = from_rpc_error(error)
                if started:
                    raise failure from error
            finally:
                call.cancel()
        raise failure

    def _channel(self, endpoint: str) -> grpc.aio.Channel:
        if endpoint not in self._channels:
            self._channels[endpoint] = open_mesh_channel(endpoint, self._settings)
        return self._channels[endpoint]


def _translated(part: storage_pb2.DownloadResponse) -> query_pb2.DownloadFileResponse:
    if part.HasField("header"):
        return query_pb2.DownloadFileResponse(header=part.header)
    return query_pb2.DownloadFileResponse(chunk=part.chunk)
