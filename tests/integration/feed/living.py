"""A mesh of three elements in which files live fast: moved, restored, erased, collected."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import redis.asyncio as aioredis

from artstore.v1 import ingest_pb2, lifecycle_pb2_grpc, storage_pb2, types_pb2, uploads_pb2
from artstore.v1 import lifecycle_pb2 as pb
from launch.processes import free_port
from mesh.postgres.database import Database
from storage_server.domain.sidecar import FileState, Sidecar, decode, encode
from storage_server.store.port import SIDECAR_SUFFIX
from tests.integration.feed.by_hand import repair
from tests.integration.feed.small_mesh import SmallMesh, fetch
from tests.support.services import ValkeyProcess
from tests.support.storage_rig import Node, accepted, chunk_of
from tests.support.waiting import until

ELEMENTS = ("se-01", "se-02", "se-03")
RW = "se-03"
LETTERS = {state: state.value[0].upper() for state in FileState}
DATA = b"some bytes"
COMPLETED = pb.TRANSFER_STATE_COMPLETED
STEPS_LIVE_SECONDS = 1.5
# What is over soon: the month of a tombstone; and at once the week of the trash.
FAST: dict[str, Any] = {
    "decisions_live_seconds": STEPS_LIVE_SECONDS,
    "first_home_step_seconds": STEPS_LIVE_SECONDS,
    "sweep_seconds": 0.3,
    "transfer_retry_seconds": 0.2,
    "ticket_seconds": 1.0,
    "tombstone_days": 3.0 / 86_400,
    "collection_seconds": 0.0,
}


class Living:
    """Files of the mesh by what is in the stores: `A` active, `M` moved, `G` gone, `-` nothing."""

    def __init__(self, mesh: SmallMesh) -> None:
        self.mesh = mesh
        self._port = free_port()

    async def start_admin(self) -> None:
        """Always at one address, so that elements find it again."""
        await self.mesh.start_admin(port=self._port, **FAST)

    @property
    def life(self) -> Any:
        return lifecycle_pb2_grpc.LifecycleServiceStub(self.mesh.admin.channel)

    @property
    def call(self) -> dict[str, Any]:
        return {"metadata": self.mesh.bearer(), "timeout": 20}

    def __getitem__(self, element_id: str) -> Node:
        return self.mesh.elements[element_id]

    # --- what users and admin ask for ------------------------------------------------------

    async def stored(self, **header: Any) -> types_pb2.File:
        """A file on se-01 that the registry knows of."""
        answer = await self["se-01"].upload(DATA, description="first", **header)
        await self.mesh.caught_up()
        return answer.file  # type: ignore[no-any-return]

    async def moved(self, file_id: str, target: str) -> pb.Transfer:
        """Move its home, and wait until it is there."""
        asked = pb.MoveFileRequest(file_id=file_id, target_storage_element_id=target)
        transfer = (await self.life.MoveFile(asked, **self.call)).transfer
        return await self.arrived(transfer.transfer_id)

    async def arrived(self, transfer_id: str) -> pb.Transfer:
        found = pb.Transfer()

        async def is_there() -> bool:
            nonlocal found
            request = pb.GetTransferRequest(transfer_id=transfer_id)
            found = (await self.life.GetTransfer(request, **self.call)).transfer
            return found.state == COMPLETED

        await until(is_there, 30)
        await self.mesh.caught_up()
        return found

    async def finalized(self, file_id: str) -> pb.Transfer:
        """Have it finalized by ingest, and wait until it is where it goes."""
        request = ingest_pb2.FinalizeFileRequest(file_id=file_id)
        transfer = (await self.mesh.ingest.FinalizeFile(request, **self.call)).transfer
        return await self.arrived(transfer.transfer_id)

    async def put(self, request_id: str, *, resumably: bool = False) -> Any:
        """Upload by ingest: what it answers when the file is there."""
        ingest, header = self.mesh.ingest, _header(request_id)
        if not resumably:
            call = ingest.Upload(**self.call)
            await call.write(uploads_pb2.UploadRequest(header=header))
            if await accepted(call):
                await call.write(uploads_pb2.UploadRequest(chunk=chunk_of(DATA, 0)))
                await call.write(uploads_pb2.UploadRequest(finish=uploads_pb2.UploadFinish()))
                await call.done_writing()
            return await call
        opened = await ingest.StartUpload(
            uploads_pb2.StartUploadRequest(header=header), **self.call
        )
        metadata = (*self.mesh.bearer(), ("artstore-upload-token", opened.upload_token))
        request = uploads_pb2.GetUploadRequest(upload_id=opened.upload_id)
        return await ingest.GetUpload(request, metadata=metadata, timeout=20)

    async def pins(self, valkey: ValkeyProcess) -> bool:
        """Whether ingest notes in Valkey which element has a request's file."""
        probe = f"probe-{secrets.token_hex(4)}"
        await self.put(probe)
        async with aioredis.from_url(valkey.url) as client:
            return bool(await client.keys(f"artstore:request:*{probe}"))

    async def known_at(self, element_id: str, request_id: str) -> str:
        """The file that an element itself answers to a repeat."""
        finish = uploads_pb2.UploadFinish()
        messages = [chunk_of(DATA, 0), finish]
        answer = await self[element_id].send_upload(_header(request_id), messages)
        return answer.file.file_id

    def files_of(self, request_id: str) -> set[str]:
        """Ids of the files in any store that were made by that request."""
        found = set()
        for rig in self.mesh.rigs.values():
            for path in rig.root.glob(f"[0-9]*/*/*/*/*{SIDECAR_SUFFIX}"):
                sidecar = decode(path.read_bytes())
                if sidecar.request_id == request_id:
                    found.add(sidecar.file_id)
        return found

    async def update(self, element_id: str, file_id: str, text: str) -> types_pb2.File:
        return (await self.change(element_id, file_id, text)).file  # type: ignore[no-any-return]

    async def change(self, element_id: str, file_id: str, text: str) -> Any:
        """UpdateFile of its description; the answer has a change token."""
        request = storage_pb2.UpdateFileRequest(
            file_id=file_id, file=types_pb2.File(description=text)
        )
        request.update_mask.paths.append("description")
        return await self[element_id].call("UpdateFile", request)

    async def delete(self, element_id: str, file_id: str) -> None:
        await self[element_id].call("DeleteFile", storage_pb2.DeleteFileRequest(file_id=file_id))

    # --- what is in the stores --------------------------------------------------------------

    def paths(self, element_id: str, file_id: str) -> list[Path]:
        """Blob and sidecar of it there."""
        return list(self.mesh.rigs[element_id].root.glob(f"[0-9]*/*/*/*/*{file_id}*"))

    def sidecar(self, element_id: str, file_id: str) -> Sidecar | None:
        found = []
        for path in self.paths(element_id, file_id):
            if path.name.endswith(SIDECAR_SUFFIX):
                with suppress(FileNotFoundError):
                    found.append(decode(path.read_bytes()))
        erased = [one for one in found if one.state is FileState.ERASED]
        return next(iter(erased + found), None)

    def letters(self, file_id: str) -> str:
        found = [self.sidecar(element_id, file_id) for element_id in ELEMENTS]
        return " ".join("-" if one is None else LETTERS[one.state] for one in found)

    async def becomes(self, file_id: str, *letters: str, seconds: float = 40.0) -> list[str]:
        """Collect until it is so; what it was on the way."""
        passed = [self.letters(file_id)]

        async def is_so() -> bool:
            with suppress(grpc.aio.AioRpcError):
                await self.life.RunCollection(pb.RunCollectionRequest(), **self.call)
            if (now := self.letters(file_id)) != passed[-1]:
                passed.append(now)
            return now in letters

        try:
            await until(is_so, seconds)
        except BaseException as error:
            error.add_note(f"it was {passed}, and was to be {letters}")
            raise
        return passed

    async def stays(self, file_id: str, letters: str) -> None:
        """Whatever admin looks at meanwhile."""
        for _ in range(4):
            await asyncio.sleep(FAST["sweep_seconds"])
            with suppress(grpc.aio.AioRpcError):
                await self.life.RunCollection(pb.RunCollectionRequest(), **self.call)
            assert self.letters(file_id) == letters

    # --- what happens to stores and tables --------------------------------------------------

    def backed_up(self, element_id: str, file_id: str) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in self.paths(element_id, file_id)}

    async def restored(self, element_id: str, file_id: str, backup: dict[Path, bytes]) -> None:
        """The element is stopped, its store has what it had then of the file, and it is started."""
        await self.mesh.stop(element_id)
        for path in self.paths(element_id, file_id):
            path.unlink()
        for path, content in backup.items():
            path.write_bytes(content)
        await self.back(element_id)

    async def day_is_over(self, element_id: str, file_id: str) -> None:
        """It is two days since anything happened to the file there."""
        found = self.sidecar(element_id, file_id)
        assert found is not None
        (path,) = (one for one in self.paths(element_id, file_id) if one.suffix == ".json")
        path.write_bytes(encode(replace(found, updated_at=found.updated_at - timedelta(days=2))))
        await repair(self[element_id])
        await self.mesh.caught_up()

    async def back(self, element_id: str) -> None:
        """An element that was stopped."""
        await repair(await self.mesh.start_element(element_id), "RebuildCache")
        await self.mesh.caught_up()

    async def without_tables(self, element_id: str) -> None:
        """Drop all that PostgreSQL has of an element; it is stopped."""
        prefix = self.mesh.tables(element_id).files.removesuffix("files")
        rows = await fetch(
            self.mesh.database_url,
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename LIKE $1",
            prefix.replace("_", "\\_") + "%",
        )
        for row in rows:
            await fetch(self.mesh.database_url, f"DROP TABLE {row['tablename']} CASCADE")

    @asynccontextmanager
    async def nothing_swept(self) -> AsyncIterator[None]:
        """Admin finishes nothing by itself meanwhile."""
        await fetch(
            self.mesh.admin_url,
            "INSERT INTO leases (name, owner, until) VALUES ('sweep', 'test', 'infinity')"
            " ON CONFLICT (name) DO UPDATE SET owner = 'test', until = 'infinity'",
        )
        yield
        await fetch(self.mesh.admin_url, "DELETE FROM leases WHERE name = 'sweep'")

    @asynccontextmanager
    async def tables(self) -> AsyncIterator[Database]:
        """Admin's database, as a further admin has it."""
        database = Database(self.mesh.admin_url)
        try:
            yield database
        finally:
            await database.close()

    async def copied_database(self, copy: str, of: str) -> None:
        """A whole database as it is now under another name; nobody may be connected to it."""
        connection = await asyncpg.connect(self.mesh.database_url)
        try:
            await connection.execute(f'DROP DATABASE IF EXISTS "{copy}" WITH (FORCE)')
            await connection.execute(f'CREATE DATABASE "{copy}" TEMPLATE "{of}"')
        finally:
            await connection.close()


@asynccontextmanager
async def living_mesh(folder: Path, database_url: str, redis_url: str) -> AsyncIterator[Living]:
    mesh = SmallMesh(folder, database_url, redis_url)
    mesh.settings = {"trash_days": 0.0}
    living = Living(mesh)
    try:
        await living.start_admin()
        for number, element_id in enumerate(ELEMENTS, start=1):
            mode = "rw" if element_id == RW else "edit"
            await mesh.start_element(element_id, priority=100 * number, mode=mode)
        await mesh.start_query()
        await mesh.start_ingest()
        yield living
    finally:
        await mesh.stop_all()


def _header(request_id: str) -> uploads_pb2.UploadHeader:
    return uploads_pb2.UploadHeader(
        original_filename=f"{request_id}.txt", description="first", request_id=request_id
    )
