"""A small mesh as an ADMIN erases in it, who looks for what is left afterwards."""

from __future__ import annotations

from typing import Any

from artstore.v1 import (
    lifecycle_pb2,
    lifecycle_pb2_grpc,
    operations_pb2,
    operations_pb2_grpc,
    registry_pb2,
    registry_pb2_grpc,
    storage_pb2,
    types_pb2,
    uploads_pb2,
)
from tests.integration.feed.small_mesh import SmallMesh
from tests.support.storage_rig import CHUNK, accepted, chunk_of
from tests.support.waiting import until
from tests.support.what_is_left import Search, Secret, in_folder, in_keys, in_tables

DONE = operations_pb2.OPERATION_STATE_SUCCEEDED
REASON = "case 4711"


def header(said: Secret) -> uploads_pb2.UploadHeader:
    return uploads_pb2.UploadHeader(
        original_filename=f"{said.said('name')}.{said.plain('extension')}",
        description=said.said("text"),
        tags=[said.said("tag")],
        attributes={said.said("key"): said.said("value")},
        version=said.said("version"),
        request_id=said.plain("request"),
    )


class Erasing:
    """The mesh, as an ADMIN erases in it."""

    def __init__(self, mesh: SmallMesh) -> None:
        self.mesh = mesh

    @property
    def life(self) -> Any:
        return lifecycle_pb2_grpc.LifecycleServiceStub(self.mesh.admin.channel)

    @property
    def operations(self) -> Any:
        return operations_pb2_grpc.OperationServiceStub(self.mesh.admin.channel)

    @property
    def call(self) -> dict[str, Any]:
        return {"metadata": self.mesh.bearer(), "timeout": 20}

    async def erase(self, file_id: str, **more: str) -> lifecycle_pb2.EraseFileResponse:
        request = lifecycle_pb2.EraseFileRequest(file_id=file_id, reason=REASON, **more)
        answer: lifecycle_pb2.EraseFileResponse = await self.life.EraseFile(request, **self.call)
        return answer

    async def hold(self, file_id: str, held: bool) -> lifecycle_pb2.SetLegalHoldResponse:
        request = lifecycle_pb2.SetLegalHoldRequest(file_id=file_id, legal_hold=held, reason=REASON)
        answer: lifecycle_pb2.SetLegalHoldResponse = await self.life.SetLegalHold(
            request, **self.call
        )
        return answer

    async def move(self, file_id: str, target: str) -> None:
        """Move its home, and wait until it is there."""
        asked = lifecycle_pb2.MoveFileRequest(file_id=file_id, target_storage_element_id=target)
        transfer = (await self.life.MoveFile(asked, **self.call)).transfer
        request = lifecycle_pb2.GetTransferRequest(transfer_id=transfer.transfer_id)

        async def has_moved() -> bool:
            found = (await self.life.GetTransfer(request, **self.call)).transfer
            return bool(found.state == lifecycle_pb2.TRANSFER_STATE_COMPLETED)

        await until(has_moved, 30)

    async def is_done(self, operation_id: str) -> bool:
        request = operations_pb2.GetOperationRequest(operation_id=operation_id)
        answer = await self.operations.GetOperation(request, **self.call)
        return bool(answer.operation.state == DONE)

    async def held_findings(self, file_id: str) -> list[tuple[list[str], str]]:
        """Elements and text of what ADMIN is told of a file that was erased and is held."""
        stub: Any = registry_pb2_grpc.FileRegistryServiceStub(self.mesh.admin.channel)
        kind = registry_pb2.FINDING_KIND_ERASED_AND_HELD
        request = registry_pb2.ListFindingsRequest(kinds=[kind])
        found = (await stub.ListFindings(request, **self.call)).findings
        return [
            (list(one.storage_element_ids), one.detail) for one in found if one.file_id == file_id
        ]

    async def streamed(self, said: Secret) -> types_pb2.File:
        call = self.mesh.ingest.Upload(metadata=self.mesh.bearer(), timeout=20)
        await call.write(uploads_pb2.UploadRequest(header=header(said)))
        assert await accepted(call)
        for at in range(0, len(said.content), CHUNK):
            await call.write(uploads_pb2.UploadRequest(chunk=chunk_of(said.content, at)))
        await call.write(uploads_pb2.UploadRequest(finish=uploads_pb2.UploadFinish()))
        await call.done_writing()
        return (await call).file  # type: ignore[no-any-return]

    async def resumed(self, said: Secret, *, commit: bool = True) -> Any:
        opened = await self.mesh.ingest.StartUpload(
            uploads_pb2.StartUploadRequest(header=header(said)), **self.call
        )
        node = self.mesh.elements[opened.storage_element_id]
        await node.write_upload(opened, said.content)
        return (await node.commit_upload(opened)).file if commit else opened

    async def update(self, file: types_pb2.File, said: Secret) -> None:
        request = storage_pb2.UpdateFileRequest(
            file_id=file.file_id, file=types_pb2.File(description=said.said("later"))
        )
        request.update_mask.paths.append("description")
        await self.mesh.elements[file.storage_element_id].call("UpdateFile", request)

    async def left(self, *said: Secret) -> dict[str, set[str]]:
        """Place -> what it still tells of one of them."""
        search, mesh = Search(*said), self.mesh
        found = await search.through(in_folder(mesh.folder))
        found |= await search.through(in_tables(mesh.database_url, mesh.admin_url, mesh.query_url))
        return found | await search.through(in_keys(mesh.redis_url))

    async def quiet(self, *said: Secret) -> bool:
        """Whether nothing is left of them."""
        return not await self.left(*said)
