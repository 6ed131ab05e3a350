"""TransferService: each step is turned into one of plain Python. Handlers in proto order."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import structlog

from artstore.v1 import lifecycle_pb2, types_pb2
from artstore.v1 import transfers_pb2 as pb
from mesh.errors import InvalidArgument, PermissionDenied, Unavailable
from mesh.file_ids import canonical_file_id
from mesh.identity.caller import Role, current_caller
from mesh.identity.tickets import TicketVerifier
from storage_server.domain.freshness import Freshness
from storage_server.domain.origin import Cause
from storage_server.domain.sidecar import FileState
from storage_server.files.changes import Changes
from storage_server.rpc.answers import Answers
from storage_server.rpc.erasures import asked_erasure
from storage_server.rpc.messages import optional, sidecar_of_message
from storage_server.rpc.origins import of_this_call
from storage_server.sidecars.reading import printable
from storage_server.steps.collecting import Collected
from storage_server.steps.element_steps import ElementSteps
from storage_server.steps.pull import Order
from storage_server.steps.taking import Decided
from storage_server.upkeep.leftovers import Leftovers

SERVICE = "artstore.v1.TransferService"

_PULLED_AS = {
    types_pb2.FILE_STATE_INCOMING: FileState.INCOMING,
    types_pb2.FILE_STATE_COPY: FileState.COPY,
}
_ACTIVATED_AS = {
    types_pb2.FILE_STATE_ACTIVE: FileState.ACTIVE,
    types_pb2.FILE_STATE_DELETED: FileState.DELETED,
}

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TransferServicer:
    """The steps that admin tells this element to take."""

    answers: Answers
    changes: Changes
    steps: ElementSteps
    tickets: TicketVerifier
    leftovers: Leftovers

    async def PullFile(self, request: pb.PullFileRequest, context: Any) -> None:
        """See the proto."""
        order = await self._order(request)
        async with aclosing(self.steps.pulling.pull(order)) as told:
            async for news in told:
                if isinstance(news, int):
                    await context.write(pb.PullFileResponse(copied_size_bytes=news))
                else:
                    await context.write(
                        pb.PullFileResponse(
                            copied_size_bytes=news.sidecar.size_bytes, file=self.answers.file(news)
                        )
                    )

    async def MarkMoved(self, request: pb.MarkMovedRequest, context: Any) -> pb.MarkMovedResponse:
        """See the proto."""
        step = _decided(request.condition, Cause.TRANSFER)
        if not request.moved_to or request.moved_to == self.answers.element_id:
            raise InvalidArgument("it moves to another element", field="moved_to")
        view = await self.steps.moving.mark_moved(step, request.moved_to)
        return pb.MarkMovedResponse(file=self.answers.file(view))

    async def SyncCopy(self, request: pb.SyncCopyRequest, context: Any) -> pb.SyncCopyResponse:
        """See the proto."""
        step = _decided(request.condition, Cause.TRANSFER)
        home = sidecar_of_message(request.home, field="home")
        if home.file_id != canonical_file_id(step.file_id):
            raise InvalidArgument("the home is of another file", field="home.file_id")
        view = await self.steps.moving.sync(step, home)
        return pb.SyncCopyResponse(file=self.answers.file(view))

    async def Activate(self, request: pb.ActivateRequest, context: Any) -> pb.ActivateResponse:
        """See the proto."""
        step = _decided(request.condition, Cause.TRANSFER)
        state = _ACTIVATED_AS.get(request.state)
        if state is None:
            raise InvalidArgument("a home is ACTIVE or DELETED", field="state")
        if request.home_since <= 0:
            raise InvalidArgument("home_since is in milliseconds since 1970", field="home_since")
        finalized_at = optional(request, "finalized_at")
        view = await self.steps.moving.activate(
            step,
            home_since=request.home_since,
            revision=optional(request, "revision"),
            state=state,
            finalized_at=finalized_at and finalized_at.ToDatetime(tzinfo=UTC),
        )
        return pb.ActivateResponse(
            file=self.answers.file(view), change_token=self.answers.token(view)
        )

    async def Collect(self, request: pb.CollectRequest, context: Any) -> pb.CollectResponse:
        """See the proto."""
        step = _decided(request.condition, Cause.COLLECTION)
        collected = await self._collect(step, request)
        view = collected.view
        return pb.CollectResponse(
            file=None if view is None else self.answers.file(view),
            freed_size_bytes=collected.freed_bytes,
        )

    async def _collect(self, step: Decided, request: pb.CollectRequest) -> Collected:
        collecting = self.steps.collecting
        if request.step == pb.COLLECT_STEP_TO_GONE:
            return await collecting.to_gone(step, request.moved_to, home_sha256=request.home_sha256)
        if request.step == pb.COLLECT_STEP_TO_DELETED:
            return await collecting.to_deleted(step)
        if request.step == pb.COLLECT_STEP_PURGE:
            return await collecting.purge(step)
        if request.step == pb.COLLECT_STEP_TO_COPY:
            return await collecting.to_copy(step)
        if request.step == pb.COLLECT_STEP_GIVE_UP:
            return Collected(None, await self.steps.pulling.give_up(step))
        raise InvalidArgument("step is not given or not known", field="step")

    async def Hold(self, request: pb.HoldRequest, context: Any) -> pb.HoldResponse:
        """See the proto."""
        caller = current_caller()
        if caller.role is not Role.ADMIN:
            raise PermissionDenied(
                "a hold is set and lifted by an ADMIN, through LifecycleService.SetLegalHold",
                reason="ROLE_DENIED",
            )
        condition = request.condition
        view = await self.changes.hold(
            condition.file_id,
            request.legal_hold,
            caller,
            by=of_this_call(request.reason),
            expected_digest=condition.digest if condition.HasField("digest") else None,
            freshness=_freshness(condition) if condition.HasField("decided_at") else None,
        )
        _log.info(
            "legal hold",
            file_id=condition.file_id,
            legal_hold=request.legal_hold,
            requested_by=caller.subject,
        )
        return pb.HoldResponse(file=self.answers.file(view), change_token=self.answers.token(view))

    async def Erase(self, request: pb.EraseRequest, context: Any) -> pb.EraseResponse:
        """See the proto."""
        asked = asked_erasure(request, _freshness(request.condition))
        if self.steps.pulling.is_under_way(canonical_file_id(asked.file_id)):
            raise Unavailable("the file is on its way here, which ends soon; try again")
        view = await self.steps.erasing.erase(asked)
        return pb.EraseResponse(file=self.answers.file(view))

    async def MakePermanent(
        self, request: pb.MakePermanentRequest, context: Any
    ) -> pb.MakePermanentResponse:
        """See the proto."""
        caller, condition = current_caller(), request.condition
        if caller.role is Role.SERVICE:
            raise PermissionDenied(
                "a file is made permanent on behalf of the account that finalizes it",
                reason="ROLE_DENIED",
            )
        view = await self.changes.make_permanent(
            condition.file_id,
            caller,
            by=of_this_call(""),
            expected_digest=condition.digest if condition.HasField("digest") else None,
            freshness=_freshness(condition),
        )
        return pb.MakePermanentResponse(
            file=self.answers.file(view), change_token=self.answers.token(view)
        )

    async def CollectLeftovers(
        self, request: pb.CollectLeftoversRequest, context: Any
    ) -> pb.CollectLeftoversResponse:
        """See the proto."""
        if not request.HasField("decided_at"):
            raise InvalidArgument("when was it decided?", field="decided_at")
        ratio = optional(request, "max_delete_ratio")
        if ratio is not None and not 0 <= ratio <= 1:
            raise InvalidArgument("a share from 0 to 1", field="max_delete_ratio")
        found = await self.leftovers.collect(
            freshness=Freshness(request.decided_at.ToDatetime(tzinfo=UTC)),
            dry_run=request.dry_run,
            max_delete_ratio=ratio,
            if_due=request.if_due,
        )
        return pb.CollectLeftoversResponse(
            counts=[
                lifecycle_pb2.CollectionCount(
                    reason=reason,
                    count=kind.count,
                    size_bytes=kind.size_bytes,
                    examples=[printable(example) for example in kind.examples],
                )
                for reason, kind in (
                    (lifecycle_pb2.COLLECTION_REASON_IDLE_UPLOAD, found.idle_uploads),
                    (lifecycle_pb2.COLLECTION_REASON_ORPHAN_BLOB, found.orphan_blobs),
                )
                if kind.count
            ],
            errors=found.errors,
        )

    async def _order(self, request: pb.PullFileRequest) -> Order:
        step = _decided(request.condition, Cause.TRANSFER)
        state = _PULLED_AS.get(request.state)
        if state is None:
            raise InvalidArgument("a file is pulled as INCOMING or COPY", field="state")
        ticket = await self.tickets.verify(request.ticket)
        if ticket.target != self.answers.element_id:
            raise PermissionDenied(f"the ticket is for storage element {ticket.target}")
        if ticket.file_id != canonical_file_id(step.file_id):
            raise PermissionDenied("the ticket is for another file")
        return Order(ticket, request.ticket, state, step)


def _decided(condition: pb.Condition, cause: Cause) -> Decided:
    if not condition.HasField("digest"):
        raise InvalidArgument("a step is conditional on the sidecar", field="condition.digest")
    return Decided(
        condition.file_id, condition.digest, _freshness(condition), of_this_call(cause=cause)
    )


def _freshness(condition: pb.Condition) -> Freshness:
    if not condition.HasField("decided_at"):
        raise InvalidArgument("when was it decided?", field="condition.decided_at")
    until = optional(condition, "taken_until")
    return Freshness(
        condition.decided_at.ToDatetime(tzinfo=UTC), until and until.ToDatetime(tzinfo=UTC)
    )
