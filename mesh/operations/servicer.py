"""OperationService, the same on every server that has long work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from artstore.v1 import operations_pb2 as pb
from artstore.v1.operations_pb2_grpc import (
    OperationServiceServicer,
    add_OperationServiceServicer_to_server,
)
from mesh.errors import InvalidArgument
from mesh.operations.operation import Operation, State
from mesh.operations.registry import Operations
from mesh.server.server import MeshServer

SERVICE = "artstore.v1.OperationService"
WATCH_INTERVAL_SECONDS = 0.25
DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000

KINDS: Mapping[str, pb.OperationKind.ValueType] = {
    "check": pb.OPERATION_KIND_CHECK,
    "full": pb.OPERATION_KIND_FULL_REBUILD,
    "incremental": pb.OPERATION_KIND_INCREMENTAL_REBUILD,
    "cleanup": pb.OPERATION_KIND_CLEANUP,
    "completion": pb.OPERATION_KIND_COMPLETION,
    "sync": pb.OPERATION_KIND_SYNC,
    "reindex": pb.OPERATION_KIND_REINDEX,
}
_STATES: Mapping[State, pb.OperationState.ValueType] = {
    state: pb.OperationState.Value(f"OPERATION_STATE_{state.name}") for state in State
}


def _stamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def to_message(operation: Operation, element_id: str) -> pb.Operation:
    """An operation in words of the contract."""
    return pb.Operation(
        operation_id=operation.operation_id,
        kind=KINDS[operation.operation_type],
        state=_STATES[operation.state],
        phase=pb.OperationPhase.Value(f"OPERATION_PHASE_{operation.phase.upper()}"),
        done=operation.done,
        total=operation.total or None,
        rate=operation.rate,
        findings=operation.findings,
        error=operation.error,
        requested_by=operation.requested_by,
        started_at=_stamp(operation.started_at),
        ended_at=None if operation.ended_at is None else _stamp(operation.ended_at),
        storage_element_id=element_id,
    )


class OperationServicer(OperationServiceServicer):
    """Handlers in the order of the proto.

    Args:
        element_id: of an element; empty on other servers.
    """

    def __init__(self, operations: Operations, *, element_id: str = "") -> None:
        self._operations = operations
        self._element_id = element_id

    async def GetOperation(
        self, request: pb.GetOperationRequest, context: Any
    ) -> pb.GetOperationResponse:
        """See the proto."""
        operation = self._operations.find(_required(request.operation_id))
        return pb.GetOperationResponse(operation=to_message(operation, self._element_id))

    async def ListOperations(
        self, request: pb.ListOperationsRequest, context: Any
    ) -> pb.ListOperationsResponse:
        """See the proto."""
        start, size = _page(request)
        found = [
            message
            for one in self._operations.newest_first()
            if _matches(message := to_message(one, self._element_id), request)
        ]
        more = start + size < len(found)
        return pb.ListOperationsResponse(
            operations=found[start : start + size],
            next_page_token=str(start + size) if more else "",
            total_size=len(found),
        )

    async def WatchOperation(
        self, request: pb.WatchOperationRequest, context: Any
    ) -> AsyncIterator[pb.WatchOperationResponse]:
        """See the proto."""
        operation = self._operations.find(request.operation_id)
        while True:
            moved = operation.next_move()
            yield pb.WatchOperationResponse(operation=to_message(operation, self._element_id))
            if operation.state.ended:
                return
            await moved.wait()
            if not operation.state.ended:
                await asyncio.sleep(WATCH_INTERVAL_SECONDS)

    async def CancelOperation(
        self, request: pb.CancelOperationRequest, context: Any
    ) -> pb.CancelOperationResponse:
        """See the proto."""
        operation = self._operations.cancel(_required(request.operation_id))
        return pb.CancelOperationResponse(operation=to_message(operation, self._element_id))


def serve_operations(server: MeshServer, operations: Operations, *, element_id: str = "") -> None:
    """Add the service to a server."""
    servicer = OperationServicer(operations, element_id=element_id)
    server.add(SERVICE, add_OperationServiceServicer_to_server, servicer)


def _required(operation_id: str) -> str:
    if not operation_id:
        raise InvalidArgument("name the operation", field="operation_id")
    return operation_id


def _matches(operation: pb.Operation, request: pb.ListOperationsRequest) -> bool:
    return (not request.kinds or operation.kind in request.kinds) and (
        not request.states or operation.state in request.states
    )


def _page(request: pb.ListOperationsRequest) -> tuple[int, int]:
    token = request.page_token
    if token and not (token.isascii() and token.isdecimal() and len(token) < 10):
        raise InvalidArgument("not a page token of this list", field="page_token")
    if request.page_size < 0:
        raise InvalidArgument("must not be negative", field="page_size")
    return int(token or 0), min(request.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
