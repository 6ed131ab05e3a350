"""Where the file of an earlier upload lives by now: its element answers what it left there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc.aio

from artstore.v1.storage_pb2 import StorageServiceGetFileRequest
from artstore.v1.types_pb2 import File, FileState
from ingest_server.uploads.element_calls import ElementConnections
from ingest_server.uploads.element_metadata import metadata_for_element
from mesh.calls.status import from_rpc_error
from mesh.elements.view import ElementView
from mesh.errors import ArtStoreError, NotFound, Unavailable
from mesh.identity.credentials import ElementTokens

if TYPE_CHECKING:
    from ingest_server.uploads.element_calls import ElementCalls

ASK_SECONDS = 5.0
_LEFT = frozenset({FileState.FILE_STATE_MOVED, FileState.FILE_STATE_GONE})


class Whereabouts:
    """Asks elements for files that they have from others, on behalf of the caller."""

    def __init__(
        self, elements: ElementView, connections: ElementConnections, tokens: ElementTokens
    ) -> None:
        self._elements = elements
        self._connections = connections
        self._tokens = tokens

    async def home_of(self, file: File) -> File:
        """The file as its home describes it; `file` when it has not moved.

        Raises:
            NotFound: it was deleted since.
            Unavailable: only a stub of it is known, and where it went does not answer.
        """
        told, asked = file, {file.storage_element_id}
        moved_to = file.moved_to or file.finalized_to
        while told.state in _LEFT and moved_to not in asked:
            asked.add(moved_to)
            try:
                told = await self._ask(moved_to, file.file_id)
                moved_to = told.moved_to
            except NotFound as exc:
                if not exc.metadata.get("moved_to"):
                    if exc.reason == "FILE_DELETED":
                        raise
                    break
                moved_to = exc.metadata["moved_to"]
            except ArtStoreError:
                break
        if told.state == FileState.FILE_STATE_GONE:
            raise Unavailable(
                f"the upload became file {file.file_id}, which went to storage element"
                f" {moved_to or '?'}, which does not give it now",
                reason="ELEMENT_UNAVAILABLE",
                metadata={"storage_element_ids": moved_to},
            )
        return told

    async def _ask(self, element_id: str, file_id: str) -> File:
        element = await self._elements.find(element_id)
        if element is None:
            raise Unavailable(f"storage element {element_id} is not known here")
        calls: ElementCalls = self._connections.to(element.endpoint)
        metadata = await metadata_for_element(self._tokens, element_id)
        try:
            answer = await calls.get_file(
                StorageServiceGetFileRequest(file_id=file_id),
                metadata=grpc.aio.Metadata(*metadata),
                timeout=ASK_SECONDS,
            )
        except grpc.aio.AioRpcError as exc:
            raise from_rpc_error(exc) from exc
        return answer.file
