"""Storage elements in memory that take the steps of a file's life, by the element's own rules.

They serve what admin asks of them: GetFile by a server, and TransferService. A test holds a call
up, fails it before it is done, or loses its answer after.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc.aio

from artstore.v1 import (
    elements_pb2,
    storage_pb2,
    storage_pb2_grpc,
    transfers_pb2,
    transfers_pb2_grpc,
    types_pb2,
)
from mesh import errors
from storage_server.domain import life
from storage_server.domain.file_id import new_file_id
from storage_server.domain.sidecar import FileState, Sidecar, digest
from storage_server.domain.sidecar_changes import made_permanent, tombstoned, updated
from storage_server.rpc.messages import file_message
from storage_server.writing.view import of_sidecar
from tests.support.running_admin import RunningAdmin, report
from tests.support.sidecars import a_sidecar
from tests.support.token_issuer import refuse

Hook = Callable[[], Awaitable[None]]
MODES = {
    "edit": types_pb2.ELEMENT_MODE_EDIT,
    "rw": types_pb2.ELEMENT_MODE_RW,
    "ro": types_pb2.ELEMENT_MODE_RO,
    "ar": types_pb2.ELEMENT_MODE_AR,
}


@dataclass
class SteppingElement(
    storage_pb2_grpc.StorageServiceServicer, transfers_pb2_grpc.TransferServiceServicer
):
    """One element.

    Attributes:
        others: all of the mesh by id, this one too.
        calls: of TransferService, in order.
        lives: seconds for which each of them but PullFile may be taken.
        before, after: awaited when a call of that name comes, and when it was done.
        refusing: what a pull to here is refused with.
        given_up: files of which a pull was to leave nothing.
        knows_giving_up: False of one of an earlier version.
    """

    element_id: str
    mode: str
    others: dict[str, SteppingElement]
    sidecars: dict[str, Sidecar] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    before: dict[str, Hook] = field(default_factory=dict)
    after: dict[str, Hook] = field(default_factory=dict)
    lives: list[float] = field(default_factory=list)
    behalf: list[str] = field(default_factory=list)
    refusing: errors.ArtStoreError | None = None
    given_up: list[str] = field(default_factory=list)
    knows_giving_up: bool = True
    endpoint: str = ""

    def store(self, content: bytes = b"bytes", **fields: Any) -> str:
        """A file of which this is the home; its id."""
        now = datetime.now(UTC)
        sidecar = a_sidecar(
            **{
                "file_id": new_file_id(now),
                "created_at": now,
                "updated_at": now,
                "expires_at": now + timedelta(days=30),
                "size_bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
                "crc32c": None,
                **fields,
            }
        )
        self.sidecars[sidecar.file_id] = sidecar
        self.blobs[sidecar.file_id] = content
        return sidecar.file_id

    def state(self, file_id: str) -> str:
        """The state of a file here; empty if there is none."""
        return self.sidecars[file_id].state.value if file_id in self.sidecars else ""

    def file(self, file_id: str) -> types_pb2.File:
        """The file as it is told here."""
        return self._file(self.sidecars[file_id])

    def update(self, file_id: str, **changes: Any) -> None:
        """As a user does."""
        self.sidecars[file_id] = updated(self.sidecars[file_id], changes, datetime.now(UTC))

    def delete(self, file_id: str) -> None:
        """As a user does."""
        self.sidecars[file_id] = tombstoned(self.sidecars[file_id], datetime.now(UTC))

    async def GetFile(self, request: Any, context: Any) -> Any:
        await self._hook(self.before, "GetFile")
        sidecar = self.sidecars.get(request.file_id)
        if sidecar is None:
            await refuse(context, errors.NotFound("no such file"))
        assert sidecar is not None
        return storage_pb2.StorageServiceGetFileResponse(
            file=self._file(sidecar),
            digest=digest(sidecar).hex(),
            bytes_present=request.file_id in self.blobs,
        )

    async def WatchChanges(self, request: Any, context: Any) -> Any:
        """There is nothing to follow: admin looks at the sidecars."""
        await for_ever()
        yield

    async def PullFile(self, request: Any, context: Any) -> Any:
        await self._begin("PullFile")
        file_id = request.condition.file_id
        try:
            if self.refusing is not None:
                raise self.refusing
            sidecar = self._pulled(request)
        except errors.ArtStoreError as exc:
            await refuse(context, exc)
            raise
        yield transfers_pb2.PullFileResponse(copied_size_bytes=sidecar.size_bytes // 2)
        await self._hook(self.before, "pulled")
        self.sidecars[file_id] = sidecar
        await self._hook(self.after, "PullFile")
        yield transfers_pb2.PullFileResponse(file=self._file(sidecar))

    def _pulled(self, request: Any) -> Sidecar:
        file_id = request.condition.file_id
        state = FileState.COPY if request.state == types_pb2.FILE_STATE_COPY else FileState.INCOMING
        source = next(
            one
            for one in self.others.values()
            if one is not self and one.state(file_id) in ("active", "moved", "copy")
        )
        over, placed = self.sidecars.get(file_id), ("2026/01/02/03", "name")
        home = source.sidecars[file_id]
        sidecar = life.arrived(home, state, placed, datetime.now(UTC), over=over)
        if sidecar is not over:
            self._require(request.condition, over)
        self.blobs[file_id] = source.blobs[file_id]
        return sidecar

    async def MarkMoved(self, request: Any, context: Any) -> Any:
        def change(sidecar: Sidecar, now: datetime) -> Sidecar:
            return life.marked_moved(sidecar, request.moved_to, now)

        file = await self._step("MarkMoved", request, context, change)
        return transfers_pb2.MarkMovedResponse(file=file)

    async def SyncCopy(self, request: Any, context: Any) -> Any:
        home = self.others[request.home.storage_element_id].sidecars[request.condition.file_id]

        def change(sidecar: Sidecar, now: datetime) -> Sidecar:
            return life.synced(sidecar, home, now)

        file = await self._step("SyncCopy", request, context, change)
        return transfers_pb2.SyncCopyResponse(file=file)

    async def Activate(self, request: Any, context: Any) -> Any:
        finalizes = request.HasField("finalized_at")
        deleted = request.state == types_pb2.FILE_STATE_DELETED

        def change(sidecar: Sidecar, now: datetime) -> Sidecar:
            return life.activated(
                sidecar,
                home_since=request.home_since,
                revision=request.revision if request.HasField("revision") else None,
                state=FileState.DELETED if deleted else FileState.ACTIVE,
                finalized_at=request.finalized_at.ToDatetime(tzinfo=UTC) if finalizes else None,
                finalized_to=self.element_id if finalizes else "",
                now=now,
            )

        file = await self._step("Activate", request, context, change)
        return transfers_pb2.ActivateResponse(file=file, change_token=f"changed.{file.revision}")

    async def Collect(self, request: Any, context: Any) -> Any:
        def change(sidecar: Sidecar, now: datetime) -> Sidecar:
            if request.step == transfers_pb2.COLLECT_STEP_TO_COPY:
                return life.no_home_any_more(sidecar, now)
            return life.gone(sidecar, request.moved_to, now)

        if request.step == transfers_pb2.COLLECT_STEP_GIVE_UP:
            await self._begin("Collect")
            if not self.knows_giving_up:
                await refuse(context, errors.InvalidArgument("step is not known"))
            self._require(request.condition, self.sidecars.get(request.condition.file_id))
            self.given_up.append(request.condition.file_id)
            return transfers_pb2.CollectResponse()
        file = await self._step("Collect", request, context, change)
        if file.state == types_pb2.FILE_STATE_GONE:
            self.blobs.pop(file.file_id, None)
        return transfers_pb2.CollectResponse(file=file)

    async def MakePermanent(self, request: Any, context: Any) -> Any:
        self.behalf.append(dict(context.invocation_metadata()).get("artstore-caller", ""))
        file = await self._step("MakePermanent", request, context, made_permanent)
        return transfers_pb2.MakePermanentResponse(file=file, change_token="permanent")

    async def _step(
        self,
        name: str,
        request: Any,
        context: Any,
        change: Callable[[Sidecar, datetime], Sidecar],
    ) -> types_pb2.File:
        condition = request.condition
        lives = condition.taken_until.ToDatetime() - condition.decided_at.ToDatetime()
        self.lives.append(lives.total_seconds())
        file_id = condition.file_id
        try:
            await self._begin(name)
            there = self.sidecars.get(file_id)
            if there is None:
                raise errors.NotFound("no such file")
            changed = change(there, datetime.now(UTC))
            if changed is not there:
                self._require(request.condition, there)
        except errors.ArtStoreError as exc:
            await refuse(context, exc)
            raise
        self.sidecars[file_id] = changed
        await self._hook(self.after, name)
        return self._file(changed)

    @staticmethod
    def _require(condition: transfers_pb2.Condition, there: Sidecar | None) -> None:
        assert condition.HasField("decided_at")
        if condition.digest != ("" if there is None else digest(there).hex()):
            raise errors.Aborted("another sidecar", reason="REVISION_CONFLICT")

    async def _begin(self, name: str) -> None:
        self.calls.append(name)
        await self._hook(self.before, name)

    async def _hook(self, hooks: dict[str, Hook], name: str) -> None:
        hook = hooks.get(name)
        if hook is not None:
            await hook()

    def _file(self, sidecar: Sidecar) -> types_pb2.File:
        return file_message(of_sidecar(sidecar, 24, stale=False), self.element_id)


async def for_ever() -> None:
    """A hook: the call is never answered."""
    await asyncio.Event().wait()


@dataclass
class Mesh:
    """Elements that report to an admin."""

    elements: dict[str, SteppingElement]

    def __getitem__(self, element_id: str) -> SteppingElement:
        return self.elements[element_id]

    async def report_to(self, admin: RunningAdmin, *names: str, **changes: Any) -> None:
        """These, or all of them, once."""
        for number, element in enumerate(self.elements.values()):
            if names and element.element_id not in names:
                continue
            message = report(
                element.element_id,
                store_id=f"3f2b0c1e-7c65-4f9f-9b58-0d0a6d9c1a{number:02d}",
                endpoint=element.endpoint,
                mode=MODES[element.mode],
                priority=100 * (number + 1),
                **changes,
            )
            await admin.elements.ReportStorageElement(
                elements_pb2.ReportStorageElementRequest(report=message),
                **await admin.as_(f"storage-{element.element_id}"),
            )


@asynccontextmanager
async def stepping_mesh(**modes: str) -> AsyncIterator[Mesh]:
    """Elements se_01 and so on in these modes, each served at a port of its own."""
    elements: dict[str, SteppingElement] = {}
    async with AsyncExitStack() as stack:
        for name, mode in modes.items():
            element_id = name.replace("_", "-")
            element = SteppingElement(element_id, mode, elements)
            server = grpc.aio.server()
            storage_pb2_grpc.add_StorageServiceServicer_to_server(element, server)
            transfers_pb2_grpc.add_TransferServiceServicer_to_server(element, server)
            element.endpoint = f"localhost:{server.add_insecure_port('localhost:0')}"
            elements[element_id] = element
            await server.start()
            stack.push_async_callback(server.stop, 0)
        yield Mesh(elements)
