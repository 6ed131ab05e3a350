"""TransferService, of which only the hold is served so far."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from artstore.v1 import transfers_pb2 as pb
from mesh.errors import Aborted, PermissionDenied
from mesh.identity.caller import Role, current_caller
from storage_server.files.changes import Changes
from storage_server.rpc.answers import Answers
from storage_server.rpc.origins import of_this_call

SERVICE = "artstore.v1.TransferService"
DECISIONS_LIVE = timedelta(seconds=60)

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TransferServicer:
    """The steps that admin tells this element to take."""

    answers: Answers
    changes: Changes

    async def Hold(self, request: pb.HoldRequest, context: Any) -> pb.HoldResponse:
        """See the proto."""
        caller = current_caller()
        if caller.role is not Role.ADMIN:
            raise PermissionDenied(
                "a hold is set and lifted by an ADMIN, through LifecycleService.SetLegalHold",
                reason="ROLE_DENIED",
            )
        condition = request.condition
        _require_fresh(condition)
        view = await self.changes.hold(
            condition.file_id,
            request.legal_hold,
            caller,
            by=of_this_call(request.reason),
            expected_digest=condition.digest if condition.HasField("digest") else None,
        )
        _log.info(
            "legal hold",
            file_id=condition.file_id,
            legal_hold=request.legal_hold,
            requested_by=caller.subject,
        )
        return pb.HoldResponse(file=self.answers.file(view), change_token=self.answers.token(view))


def _require_fresh(condition: pb.Condition) -> None:
    if not condition.HasField("decided_at"):
        return
    decided_at = condition.decided_at.ToDatetime(tzinfo=UTC)
    if datetime.now(UTC) - decided_at > DECISIONS_LIVE:
        raise Aborted("the step was decided too long ago; look again", reason="STALE")
