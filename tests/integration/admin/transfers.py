"""What tests of transfers ask an admin for."""

from __future__ import annotations

from typing import Any

import orjson

from artstore.v1 import lifecycle_pb2 as pb
from artstore.v1 import lifecycle_pb2_grpc
from mesh.contract import CALLER_KEY
from mesh.follower.rows import to_row
from tests.support.running_admin import RunningAdmin, admin_database, bearer
from tests.support.stepping_elements import Mesh

FAST: dict[str, Any] = {
    "transfer_retry_seconds": 0.05,
    "transfer_lease_seconds": 0.6,
    "decisions_live_seconds": 30,
    "first_home_step_seconds": 30,
    "sweep_seconds": 0.1,
}
ENDED = (
    pb.TRANSFER_STATE_COMPLETED,
    pb.TRANSFER_STATE_FAILED,
    pb.TRANSFER_STATE_CANCELLED,
)


async def register(database_url: str, mesh: Mesh, file_id: str) -> None:
    """What the feeds would tell the registry."""
    async with admin_database(database_url) as database:
        for element_id, element in mesh.elements.items():
            if element.state(file_id):
                row = to_row(element.file(file_id), element_id, 1)
                await database.execute(
                    "INSERT INTO file_registry SELECT * FROM"
                    " json_populate_record(NULL::file_registry, $1) ON CONFLICT DO NOTHING",
                    orjson.dumps(row).decode(),
                )


class Lifecycle:
    """LifecycleService of an admin, as its first account."""

    def __init__(self, admin: RunningAdmin) -> None:
        self.admin = admin
        self.stub: Any = lifecycle_pb2_grpc.LifecycleServiceStub(admin.channel)

    async def move(self, file_id: str, target: str = "", **fields: Any) -> pb.Transfer:
        request = pb.MoveFileRequest(file_id=file_id, target_storage_element_id=target, **fields)
        answer = await self.stub.MoveFile(request, **await self.admin.as_("admin"))
        transfer: pb.Transfer = answer.transfer
        return transfer

    async def finalize(self, file_id: str, target: str = "", **fields: Any) -> pb.Transfer:
        """As ingest does, on behalf of alice."""
        request = pb.MoveFileRequest(
            file_id=file_id,
            target_storage_element_id=target,
            kind=pb.TRANSFER_KIND_FINALIZE,
            **fields,
        )
        metadata = (
            *bearer(await self.admin.issue("storage-se-01")),
            (CALLER_KEY, await self.admin.issue("alice")),
        )
        answer = await self.stub.MoveFile(request, metadata=metadata, timeout=10)
        transfer: pb.Transfer = answer.transfer
        return transfer

    async def get(self, transfer_id: str, *, wait_seconds: float = 0.0) -> pb.Transfer:
        request = pb.GetTransferRequest(transfer_id=transfer_id, wait_seconds=wait_seconds)
        answer = await self.stub.GetTransfer(request, **await self.admin.as_("admin"))
        transfer: pb.Transfer = answer.transfer
        return transfer

    async def list(self, **fields: Any) -> pb.ListTransfersResponse:
        request = pb.ListTransfersRequest(**fields)
        answer: pb.ListTransfersResponse = await self.stub.ListTransfers(
            request, **await self.admin.as_("admin")
        )
        return answer

    async def cancel(self, transfer_id: str) -> pb.Transfer:
        request = pb.CancelTransferRequest(transfer_id=transfer_id)
        answer = await self.stub.CancelTransfer(request, **await self.admin.as_("admin"))
        transfer: pb.Transfer = answer.transfer
        return transfer

    async def retry(self, transfer_id: str) -> pb.Transfer:
        request = pb.RetryTransferRequest(transfer_id=transfer_id)
        answer = await self.stub.RetryTransfer(request, **await self.admin.as_("admin"))
        transfer: pb.Transfer = answer.transfer
        return transfer
