"""LifecycleService, of which only the hold is served so far."""

from __future__ import annotations

from typing import Any

from admin_server.registry.holds import Holds
from artstore.v1 import lifecycle_pb2
from mesh.identity.caller import current_caller


class LifecycleServicer:
    """What happens to files after they are stored."""

    def __init__(self, holds: Holds) -> None:
        self._holds = holds

    async def SetLegalHold(
        self, request: lifecycle_pb2.SetLegalHoldRequest, context: Any
    ) -> lifecycle_pb2.SetLegalHoldResponse:
        """Hold a file, or not any more."""
        held = await self._holds.set(
            request.file_id, request.legal_hold, request.reason, current_caller()
        )
        return lifecycle_pb2.SetLegalHoldResponse(file=held.file, change_token=held.change_token)
