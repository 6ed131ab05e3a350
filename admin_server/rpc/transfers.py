"""The part of LifecycleService that moves files."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from admin_server.rpc.times import timestamp
from admin_server.transfers import table
from admin_server.transfers.starting import Asked, Starting
from admin_server.transfers.table import TransferTable
from admin_server.transfers.transfer import Kind, State, Transfer
from admin_server.transfers.tried import Tried
from artstore.v1 import lifecycle_pb2 as pb
from mesh.contract import CALLER_KEY
from mesh.errors import InvalidArgument, PermissionDenied
from mesh.file_ids import canonical_file_id
from mesh.identity.caller import Role, current_caller
from mesh.paging import AskedPage

# Longest that GetTransfer waits; an admin that stops waits for its calls.
MAX_WAIT = 10.0


@dataclass(frozen=True, slots=True)
class TransferServicer:
    """Starts, shows and stops transfers."""

    starting: Starting
    table: TransferTable
    tried: Tried

    async def MoveFile(self, request: pb.MoveFileRequest, context: Any) -> pb.MoveFileResponse:
        """Move a file's home; FINALIZE on behalf of its user."""
        caller = current_caller()
        kind = _kind(request.kind or pb.TRANSFER_KIND_MOVE)
        if kind not in (Kind.MOVE, Kind.FINALIZE):
            raise InvalidArgument("kind is MOVE or FINALIZE", field="kind")
        if kind is Kind.MOVE and caller.role is not Role.ADMIN:
            raise PermissionDenied("files are moved by an ADMIN", reason="ROLE_DENIED")
        if caller.role is Role.SERVICE and not _is_passed_on(context):
            raise PermissionDenied(
                "a server asks for a FINALIZE on behalf of its caller alone: call"
                " IngestService.FinalizeFile",
                reason="ROLE_DENIED",
            )
        asked = Asked(
            kind=kind,
            file_id=request.file_id,
            target=request.target_storage_element_id,
            expected_revision=(
                request.expected_revision if request.HasField("expected_revision") else None
            ),
        )
        return pb.MoveFileResponse(transfer=_message(await self.starting.start(asked, caller)))

    async def GetTransfer(
        self, request: pb.GetTransferRequest, context: Any
    ) -> pb.GetTransferResponse:
        """Describe a transfer."""
        found = await self._asked_for(request)
        if found.is_open and request.wait_seconds > 0:
            found = await self._tried(found.transfer_id, min(request.wait_seconds, MAX_WAIT))
        return pb.GetTransferResponse(transfer=_message(found))

    async def _asked_for(self, request: pb.GetTransferRequest) -> Transfer:
        if request.file_id and not request.transfer_id:
            file_id = canonical_file_id(request.file_id)
            kind = _kind(request.kind) if request.kind else None
            found = None if "\0" in file_id else await self.table.newest(file_id, kind)
        else:
            found = await self.table.get(request.transfer_id)
        if found is None or not current_caller().may_read(found.namespace):
            raise table.no_such(request.transfer_id or request.file_id)
        return found

    async def _tried(self, transfer_id: str, seconds: float) -> Transfer:
        """The transfer as it is when this admin has tried it, or after so many seconds."""
        with self.tried.listening(transfer_id) as tried:
            found = await self.table.get(transfer_id)
            if not found.is_open:
                return found
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await tried.wait()
        return await self.table.get(transfer_id)

    async def ListTransfers(
        self, request: pb.ListTransfersRequest, context: Any
    ) -> pb.ListTransfersResponse:
        """List transfers, newest first."""
        file_id, element_id = canonical_file_id(request.file_id), request.storage_element_id
        if "\0" in file_id + element_id:
            raise InvalidArgument("must not hold NUL", field="file_id")
        states = sorted({_state(number) for number in request.states})
        # Counted for the first page; the others have it from there.
        filters = ("transfers", file_id, element_id, *states)
        asked = AskedPage.of(request, filters, datetime, str, int)
        which = table.Asked(states=states, file_id=file_id, element_id=element_id)
        after, total = None, -1
        if asked.after is not None:
            *after, total = asked.after
        found = await self.table.list_transfers(
            which, limit=asked.size + 1, after=None if after is None else (after[0], after[1])
        )
        if total < 0:
            total = await self.table.count(which)
        page, token = asked.page(found, lambda one: (one.created_at, one.transfer_id, total))
        return pb.ListTransfersResponse(
            transfers=[_message(one) for one in page], next_page_token=token, total_size=total
        )

    async def CancelTransfer(
        self, request: pb.CancelTransferRequest, context: Any
    ) -> pb.CancelTransferResponse:
        """Give a transfer up."""
        found = await self.table.cancel(request.transfer_id)
        self.starting.wake.ring()
        self.tried.note(found.transfer_id)
        return pb.CancelTransferResponse(transfer=_message(found))

    async def RetryTransfer(
        self, request: pb.RetryTransferRequest, context: Any
    ) -> pb.RetryTransferResponse:
        """Try a transfer again."""
        found = await self.table.retry(request.transfer_id)
        self.starting.wake.ring()
        return pb.RetryTransferResponse(transfer=_message(found))


def _is_passed_on(context: Any) -> bool:
    """Whether a server asks for somebody else, who may be a SERVICE too."""
    return any(name == CALLER_KEY for name, _ in context.invocation_metadata() or ())


def _message(transfer: Transfer) -> pb.Transfer:
    return pb.Transfer(
        transfer_id=transfer.transfer_id,
        kind=_KINDS[transfer.kind],
        file_id=transfer.file_id,
        source_storage_element_id=transfer.source,
        target_storage_element_id=transfer.target,
        state=_STATES[transfer.state],
        copied_size_bytes=transfer.copied_size_bytes,
        size_bytes=transfer.size_bytes,
        attempts=transfer.attempts,
        next_attempt_at=timestamp(transfer.next_attempt_at) if transfer.next_attempt_at else None,
        error=transfer.error,
        requested_by=transfer.requested_by,
        change_token=transfer.change_token,
        created_at=timestamp(transfer.created_at),
        updated_at=timestamp(transfer.updated_at),
        ended_at=timestamp(transfer.ended_at) if transfer.ended_at else None,
    )


_KINDS = {kind: pb.TransferKind.Value(f"TRANSFER_KIND_{kind.value.upper()}") for kind in Kind}
_STATES = {
    state: pb.TransferState.Value(f"TRANSFER_STATE_{state.value.upper()}") for state in State
}


def _kind(number: int) -> Kind:
    found = next((kind for kind, value in _KINDS.items() if value == number), None)
    if found is None:
        raise InvalidArgument(f"kind {number} is not known", field="kind")
    return found


def _state(number: int) -> State:
    found = next((state for state, value in _STATES.items() if value == number), None)
    if found is None:
        raise InvalidArgument(f"state {number} is not known", field="states")
    return found
