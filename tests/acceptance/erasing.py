"""An ADMIN who erases in a mesh of processes, and who looks for what is left afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import asyncpg
import grpc

from artstore.v1 import ingest_pb2, lifecycle_pb2_grpc, operations_pb2, registry_pb2, types_pb2
from artstore.v1 import lifecycle_pb2 as pb
from mesh.postgres.urls import database_name, with_database
from storage_server.domain.sidecar import Sidecar, decode, encode
from storage_server.store.port import SIDECAR_SUFFIX
from tests.acceptance.resumable import HeldUpload
from tests.support.backdoor import Backdoor, LocalBackdoor, S3Backdoor
from tests.support.caller import sha256_of
from tests.support.mesh import MeshProcess
from tests.support.outside import Outside, error_info
from tests.support.services import S3Account
from tests.support.waiting import wait_until
from tests.support.what_is_left import (
    OF_SERVICES,
    Search,
    Secret,
    in_bucket,
    in_folder,
    in_keys,
    in_tables,
)

REASON = "case 4711"
ENDED = {pb.TRANSFER_STATE_COMPLETED, pb.TRANSFER_STATE_FAILED, pb.TRANSFER_STATE_CANCELLED}


class Eraser(Outside):
    """Has files in all the ways in which a mesh has them, and erases them."""

    @property
    def life(self) -> Any:
        return lifecycle_pb2_grpc.LifecycleServiceStub(self.channel("admin"))

    # --- files ---------------------------------------------------------------------------

    def put(self, secret: Secret, *, element_id: str = "", **header: Any) -> types_pb2.File:
        """Upload it, through ingest or past it, with a word in each field."""
        said = told(secret) | header
        name = said.pop("original_filename")
        if element_id:
            return self.upload_to(element_id, secret.content, name, **said)
        return self.upload(secret.content, name, **said)

    def open(self, secret: Secret) -> HeldUpload:
        """A resumable upload with all its bytes, not committed."""
        said = told(secret)
        opened = HeldUpload.start(self, said.pop("original_filename"), **said)
        opened.write(secret.content, start=0)
        return opened

    def resumed(self, secret: Secret) -> types_pb2.File:
        return self.open(secret).commit(len(secret.content), sha256_of(secret.content))

    def described(self, file: types_pb2.File, secret: Secret) -> None:
        """Other words in each field that can be changed, twice."""
        for turn in ("later", "last"):
            self.update(
                file.storage_element_id,
                file.file_id,
                paths=["original_filename", "description", "tags", "attributes", "version"],
                original_filename=secret.said(f"{turn} name"),
                description=secret.said(f"{turn} description"),
                tags=[secret.said(f"{turn} tag")],
                attributes={secret.said(f"{turn} key"): secret.said(f"{turn} value")},
                version=secret.said(f"{turn} version"),
            )

    def moved(self, file_id: str, target: str) -> None:
        request = pb.MoveFileRequest(file_id=file_id, target_storage_element_id=target)
        self.transferred(self.life.MoveFile(request, **self.auth).transfer)

    def finalized(self, file_id: str) -> None:
        request = ingest_pb2.FinalizeFileRequest(file_id=file_id)
        self.transferred(self.ingest.FinalizeFile(request, **self.auth).transfer)

    def transferred(self, begun: pb.Transfer) -> None:
        def state() -> Any:
            request = pb.GetTransferRequest(transfer_id=begun.transfer_id)
            return self.life.GetTransfer(request, **self.auth).transfer.state

        wait_until(lambda: state() in ENDED, 60.0, "the transfer ends")
        assert state() == pb.TRANSFER_STATE_COMPLETED

    # --- ADMIN's words -------------------------------------------------------------------

    def erase(self, file_id: str) -> pb.EraseFileResponse:
        request = pb.EraseFileRequest(file_id=file_id, reason=REASON)
        answer: pb.EraseFileResponse = self.life.EraseFile(request, **self.auth)
        return answer

    def is_done(self, answer: pb.EraseFileResponse) -> bool:
        request = operations_pb2.GetOperationRequest(operation_id=answer.operation.operation_id)
        found = self.operations("admin").GetOperation(request, **self.auth)
        return bool(found.operation.state == operations_pb2.OPERATION_STATE_SUCCEEDED)

    def held(self, file_id: str, legal_hold: bool) -> pb.SetLegalHoldResponse:
        request = pb.SetLegalHoldRequest(file_id=file_id, legal_hold=legal_hold, reason=REASON)
        answer: pb.SetLegalHoldResponse = self.life.SetLegalHold(request, **self.auth)
        return answer

    def collect(self, *, dry_run: bool = False) -> pb.Collection:
        request = pb.RunCollectionRequest(dry_run=dry_run, max_delete_ratio=1.0)
        metadata = self.auth["metadata"]
        return self.life.RunCollection(request, metadata=metadata, timeout=90).collection

    def check_mesh(self) -> registry_pb2.CheckMeshResponse:
        request = registry_pb2.CheckMeshRequest()
        answer: registry_pb2.CheckMeshResponse = self.registry.CheckMesh(request, **self.auth)
        return answer

    def findings(self) -> dict[str, set[Any]]:
        """File id -> kinds of what waits."""
        answer = self.registry.ListFindings(registry_pb2.ListFindingsRequest(), **self.auth)
        found: dict[str, set[Any]] = {}
        for one in answer.findings:
            found.setdefault(one.file_id, set()).add(one.kind)
        return found

    def state(self, element_id: str, file_id: str) -> str:
        """How a file's home element has it for its users; the reason if it does not."""
        try:
            found = self.get(element_id, file_id)
        except grpc.RpcError as error:
            return error_info(error).reason
        return types_pb2.FileState.Name(found.state).removeprefix("FILE_STATE_")


class Stores:
    """The stores of a mesh, past its servers.

    Args:
        account: of the bucket; None for local files.
    """

    def __init__(self, mesh: MeshProcess, client: Any = None, account: S3Account | None = None):
        self._mesh = mesh
        self._client = client
        self._account = account

    def __getitem__(self, element_id: str) -> Backdoor:
        folder = f"storage_element_{element_id.removeprefix('se-')}"
        if self._account is None:
            return LocalBackdoor(self._mesh.file.data_dir / folder)
        return S3Backdoor(self._client, self._account.bucket, folder)

    def of(self, element_id: str, file_id: str) -> dict[str, bytes]:
        """What a store has of a file, by path."""
        store = self[element_id]
        return {path: store.read(path) for path in store.paths() if file_id in path}

    def sidecar(self, element_id: str, file_id: str) -> Sidecar:
        (content,) = (
            content
            for path, content in self.of(element_id, file_id).items()
            if path.endswith(SIDECAR_SUFFIX)
        )
        return decode(content)

    def copied(self, source: str, target: str, file_id: str) -> None:
        """As a tool copies folders."""
        for path, content in self.of(source, file_id).items():
            self[target].write(path, content)

    def rewrite(self, element_id: str, file_id: str, **changes: Any) -> None:
        """A sidecar by hand; a repair notices it."""
        for path, content in self.of(element_id, file_id).items():
            if path.endswith(SIDECAR_SUFFIX):
                self[element_id].write(path, encode(replace(decode(content), **changes)))

    def left(self, *secrets: Secret) -> dict[str, set[str]]:
        """Place -> what it still tells: stores, logs, keys of Valkey, tables."""
        return asyncio.run(self._left(Search(*secrets)))

    async def _left(self, search: Search) -> dict[str, set[str]]:
        file = self._mesh.file
        url = file.database_url
        names = [database_name(url) + suffix for suffix in ("", "_query", "_admin")]
        found = await search.through(in_folder(file.data_dir, but=OF_SERVICES))
        found |= await search.through(in_tables(*(with_database(url, name) for name in names)))
        found |= await search.through(in_keys(file.redis_url))
        if self._account is not None:
            found |= await search.through(in_bucket(self._client, self._account.bucket))
        for name in OF_SERVICES:
            found |= await search.through(_one(f"log of {name}", self._mesh.log(name)))
        return found

    def sql(self, suffix: str, query: str, *arguments: object) -> list[Any]:
        """Of the database whose name ends so."""
        url = self._mesh.file.database_url
        return asyncio.run(
            _fetch(with_database(url, database_name(url) + suffix), query, arguments)
        )


async def _one(place: str, content: str) -> Any:
    yield place, content.encode()


async def _fetch(url: str, query: str, arguments: Collection[object]) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(query, *arguments))
    finally:
        await connection.close()


def told(secret: Secret) -> dict[str, Any]:
    """A header with a word in each field."""
    return {
        "original_filename": f"{secret.said('name')}.{secret.plain('extension')}",
        "content_type": f"application/x-{secret.plain('type')}",
        "description": secret.said("description"),
        "tags": [secret.said("tag")],
        "attributes": {secret.said("key"): secret.said("value")},
        "version": secret.said("version"),
        "request_id": secret.plain("request"),
    }
