"""The part of LifecycleService that erases files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from admin_server.erasures.erasing import Erasures
from artstore.v1 import lifecycle_pb2 as pb
from mesh.identity.caller import current_caller
from mesh.operations.servicer import to_message


@dataclass(frozen=True, slots=True)
class ErasureServicer:
    """Erases files."""

    erasures: Erasures

    async def EraseFile(self, request: pb.EraseFileRequest, context: Any) -> pb.EraseFileResponse:
        """Erase a file for ever."""
        outcome = await self.erasures.erase(
            request.file_id, request.reason, request.operation_id, current_caller()
        )
        return pb.EraseFileResponse(
            operation=to_message(outcome.operation, ""),
            storage_element_ids=outcome.element_ids,
        )
