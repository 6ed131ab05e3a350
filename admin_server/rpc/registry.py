"""FileRegistryService."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from admin_server.registry.registry import FileRegistry
from admin_server.rpc.findings import FindingCalls
from artstore.v1 import registry_pb2
from mesh.errors import InvalidArgument
from mesh.follower.rows import STATES, to_file
from mesh.identity.caller import current_caller
from mesh.paging import AskedPage

_STATE_OF = {word: number for number, word in STATES.items()}


class FileRegistryServicer:
    """Which element has which file."""

    def __init__(self, registry: FileRegistry, findings: FindingCalls) -> None:
        self._registry = registry
        self._findings = findings

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
                    state=_STATE_OF.get(row["state"], 0),  # type: ignore[arg-type]
                    revision=row["revision"],
                    home_since=row["home_since"],
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
        made_for = ("files", request.storage_element_id, request.namespace)
        asked = AskedPage.of(request, made_for, datetime, str)
        found, total = await self._registry.list_files(
            current_caller(),
            element_id=request.storage_element_id,
            namespace=request.namespace,
            limit=asked.size + 1,
            after=asked.after,
        )
        rows, token = asked.page(found, lambda row: (row["created_at"], row["file_id"]))
        return registry_pb2.FileRegistryServiceListFilesResponse(
            files=[to_file(row) for row in rows], next_page_token=token, total_size=total
        )

    async def CheckMesh(
        self, request: registry_pb2.CheckMeshRequest, context: Any
    ) -> registry_pb2.CheckMeshResponse:
        """Check all files of the mesh."""
        return await self._findings.check_mesh(request)

    async def ListFindings(
        self, request: registry_pb2.ListFindingsRequest, context: Any
    ) -> registry_pb2.ListFindingsResponse:
        """List what waits for somebody."""
        return await self._findings.list_findings(request)

    async def ResolveHome(
        self, request: registry_pb2.ResolveHomeRequest, context: Any
    ) -> registry_pb2.ResolveHomeResponse:
        """Make an element the home of a file."""
        return await self._findings.resolve_home(request)
