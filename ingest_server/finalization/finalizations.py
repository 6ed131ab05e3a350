"""Finalizations: ingest asks admin for them, on behalf of its caller."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

import grpc
import grpc.aio

from artstore.v1 import ingest_pb2, lifecycle_pb2
from artstore.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from mesh.calls.status import from_rpc_error
from mesh.contract import REQUEST_ID_KEY
from mesh.errors import InvalidArgument, NotFound
from mesh.identity.caller import current_caller, current_request_id
from mesh.identity.credentials import ServiceToken

if TYPE_CHECKING:
    from artstore.v1.lifecycle_pb2_grpc import LifecycleServiceAsyncStub

Answer = TypeVar("Answer")

# Admin looks for the file on every element, and makes it permanent where it is.
FINALIZE_SECONDS = 20.0
GET_SECONDS = 5.0


class Finalizations:
    """Begins and describes finalizations.

    Args:
        channel: to admin.
        account: this server's own token for admin.
    """

    def __init__(self, channel: grpc.aio.Channel, account: ServiceToken) -> None:
        self._stub: LifecycleServiceAsyncStub = LifecycleServiceStub(channel)
        self._account = account

    async def finalize(self, request: ingest_pb2.FinalizeFileRequest) -> lifecycle_pb2.Transfer:
        """Make a temporary file permanent, and begin its transfer; or answer the one there is.

        Raises:
            ArtStoreError: what admin answers; Unavailable when it does not.
        """
        asked = lifecycle_pb2.MoveFileRequest(
            file_id=request.file_id,
            target_storage_element_id=request.target_storage_element_id,
            kind=lifecycle_pb2.TRANSFER_KIND_FINALIZE,
        )
        if request.HasField("expected_revision"):
            asked.expected_revision = request.expected_revision
        answer = await self._answered(
            self._stub.MoveFile(asked, metadata=self._metadata(), timeout=FINALIZE_SECONDS)
        )
        return answer.transfer

    async def get(self, request: ingest_pb2.GetFinalizationRequest) -> lifecycle_pb2.Transfer:
        """The finalization of that id, or the newest of a file.

        Raises:
            InvalidArgument: neither is set.
            NotFound: there is none.
            ArtStoreError: what admin answers; Unavailable when it does not.
        """
        asked = lifecycle_pb2.GetTransferRequest()
        if request.transfer_id:
            asked.transfer_id = request.transfer_id
        elif request.file_id:
            asked.file_id = request.file_id
            asked.kind = lifecycle_pb2.TRANSFER_KIND_FINALIZE
        else:
            raise InvalidArgument("name a transfer or a file", field="finalization")
        answer = await self._answered(
            self._stub.GetTransfer(asked, metadata=self._metadata(), timeout=GET_SECONDS)
        )
        if answer.transfer.kind != lifecycle_pb2.TRANSFER_KIND_FINALIZE:
            raise NotFound(f"transfer {request.transfer_id[:64]!r} is no finalization")
        return answer.transfer

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        own = self._account.metadata(on_behalf_of=current_caller())
        return (*own, (REQUEST_ID_KEY, current_request_id.get()))

    async def _answered(self, call: Awaitable[Answer]) -> Answer:
        try:
            return await call
        except grpc.aio.AioRpcError as exc:
            if exc.code() is grpc.StatusCode.UNAUTHENTICATED:
                self._account.refused()
            raise from_rpc_error(exc) from exc
