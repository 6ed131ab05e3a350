"""FileRegistryService."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from admin_server.registry.registry import FileRegistry
from admin_server.rpc.paging import decode_page_token, encode_page_token, page_size_of
from artstore.v1 import registry_pb2
from mesh.errors import InvalidArgument
from mesh.follower.rows import STATES, to_file
from mesh.identity.caller import current_caller

_LISTING = "files"
_STATE_OF = {word: number for number, word in STATES.items()}


class FileRegistryServicer:
    """Which element has which file."""

    def __init__(self, registry: FileRegistry) -> None:
        self._registry = registry

    async def GetFile(
        self, request: registry_pb2.FileRegistryServiceGetFileRequest, context: Any
    ) -> registry_pb2.FileRegistryServiceGetFileResponse:
        """Describe a file and say where it is."""
        rows = await self._registry.replicas(request.file_id, current_caller())
        return registry_pb2.FileRegistryServiceGetFileResponse(
            file=to_file(rows[0]),
            replicas=[
                registry_pb2.Replica(
                    storage_element_id=row["storage_element_id"],
                    state=_STATE_OF[row["state"]],  # type: ignore[arg-type]
                    revision=row["revision"],
                )
                for row in rows
            ],
        )

    async def ListFiles(
        self, request: registry_pb2.FileRegistryServiceListFilesRequest, context: Any
    ) -> registry_pb2.FileRegistryServiceListFilesResponse:
        """List files, oldest first."""
        if "\0" in request.storage_element_id + request.namespace:
            raise InvalidArgument("must not hold NUL", field="storage_element_id")
        size = page_size_of(request.page_size)
        key = decode_page_token(_LISTING, request.page_token, str, str)
        page = await self._registry.list_files(
            current_caller(),
            element_id=request.storage_element_id,
            namespace=request.namespace,
            size=size,
            after=None if key is None else (_moment(str(key[0])), str(key[1])),
        )
        token = ""
        if page.more:
            last = page.rows[-1]
            token = encode_page_token(_LISTING, last["created_at"].isoformat(), last["file_id"])
        return registry_pb2.FileRegistryServiceListFilesResponse(
            files=[to_file(row) for row in page.rows],
            next_page_token=token,
            total_size=page.total,
        )


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidArgument(
            "page_token is not a token of this list", field="page_token"
        ) from error
    if moment.tzinfo is None:
        raise InvalidArgument("page_token is not a token of this list", field="page_token")
    return moment
