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
from mesh.paging import AskedPage
from mesh.server.server import MeshServer

SERVICE = "artstore.v1.OperationService"
WATCH_INTERVAL_SECONDS = 0.25

KINDS: Mapping[str, pb.OperationKind.ValueType] = {
    "check": pb.OPERATION_KIND_CHECK,
    "full": pb.OPERATION_KIND_FULL_REBUILD,
    "incremental": pb.OPERATION_KIND_INCREMENTAL_REBUILD,
    "cleanup": pb.OPERATION_KIND_CLEANUP,
    "completion": pb.OPERATION_KIND_COMPLETION,
    "sync": pb.OPERATION_KIND_SYNC,
    "reindex": pb.OPERATION_KIND_REINDEX,
    "erasure": pb.OPERATION_KIND_ERASURE,
    "collection": pb.OPERATION_KIND_COLLECTION,
    "mesh_check": pb.OPERATION_KIND_MESH_CHECK,
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
        kind=KINDS[operation.kind],
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
        made_for = ("operations", sorted(request.kinds), sorted(request.states))
        asked = AskedPage.of(request, made_for, datetime, str)
        found = [
            (one, message)
            for one in self._operations.newest_first()
            if _matches(message := to_message(one, self._element_id), request)
        ]
        page, token = asked.page_of_all(
            found, lambda each: (each[0].started_at, each[0].operation_id), descending=True
        )
        return pb.ListOperationsResponse(
            operations=[message for _, message in page],
            next_page_token=token,
            total_size=len(found),
        )

    async def WatchOperation(
        self, request: pb.WatchOperationRequest, context: Any
    ) -> AsyncIterator[pb.WatchOperationResponse]:
        """See the proto."""
        operation = self._operations.find(request.operation_id)
        moves = operation.moves()
        while True:
            moves.take()
            yield pb.WatchOperationResponse(operation=to_message(operation, self._element_id))
            if operation.state.ended:
                return
            await moves.wait()
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
