"""A mesh of two elements that users work in at random, and what they were told of their files."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc

from artstore.v1 import ingest_pb2, lifecycle_pb2, storage_pb2, types_pb2, uploads_pb2
from mesh.calls.status import from_rpc_error
from storage_server.domain.file_id import new_file_id, time_of
from storage_server.domain.naming import folder_of, storage_filename
from storage_server.domain.sidecar import FileState, Sidecar, encode
from storage_server.store.port import SIDECAR_SUFFIX
from tests.integration.feed.by_hand import repair
from tests.integration.feed.collecting import Collecting
from tests.integration.feed.small_mesh import SmallMesh, fetch
from tests.integration.feed.what_may_go import Lying, home_of, lying
from tests.support.backdoor import Backdoor, LocalBackdoor, S3Backdoor
from tests.support.cache_rig import path_of
from tests.support.running_admin import ManualClock
from tests.support.storage_rig import Node
from tests.support.waiting import until

ELEMENTS = {"se-01": "edit", "se-02": "rw"}
OK = "OK"
# Of a hold that was lifted: from then on the file may expire.
FREE = "FREE"
# Of a move's transfer: what has expired may be moved until it is collected, and may be collected
# meanwhile.
COLLECTED_FIRST = "the file is deleted"
# Each is an odd number of hours, so that no file comes to the very end of its time.
AGES = tuple(timedelta(hours=hours) for hours in (13, 25, 25, 73, 169, 193, 745))


def now() -> datetime:
    return datetime.now(UTC)


class Wall:
    """An element's clock, as far off as a test has put it."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@dataclass
class Fact:
    """What users were told of a file.

    Attributes:
        rotten: its home's bytes were lost.
    """

    data: bytes
    expires_at: datetime | None
    description: str = ""
    held: bool = False
    deleted: bool = False
    rotten: bool = False

    def is_found(self, at: datetime) -> bool:
        """Whether users find it."""
        return not self.deleted and (self.held or self.expires_at is None or self.expires_at > at)


@dataclass
class OpenUpload:
    """One that is not committed; of its data so many bytes are on record."""

    element_id: str
    opened: Any
    data: bytes
    recorded: int
    idle: bool = False


@dataclass
class Orphan:
    """A blob that no sidecar stands for."""

    element_id: str
    path: str
    data: bytes
    due: bool


@dataclass
class Walked:
    """The mesh; `facts` by file id."""

    mesh: SmallMesh
    collecting: Collecting
    dice: random.Random
    clock: ManualClock
    walls: Mapping[str, Wall]
    orphan_keep: timedelta = timedelta(days=7)
    facts: dict[str, Fact] = field(default_factory=dict)
    uploads: list[OpenUpload] = field(default_factory=list)
    orphans: list[Orphan] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)

    # --- what lies there -------------------------------------------------------------------

    def backdoors(self) -> dict[str, Backdoor]:
        return {
            element_id: rig.bucket if rig.bucket is not None else LocalBackdoor(rig.root)
            for element_id, rig in self.mesh.rigs.items()
        }

    def stores(self) -> dict[str, dict[str, Lying]]:
        return lying(self.backdoors())

    def put(self, element_id: str, sidecar: Sidecar, data: bytes | None = None) -> None:
        """Lay a sidecar down by hand, and bytes beside it."""
        backdoor, path = self.backdoors()[element_id], path_of(sidecar)
        if data is not None:
            backdoor.write(path.removesuffix(SIDECAR_SUFFIX), data)
        backdoor.write(path, encode(sidecar))

    async def told(self) -> None:
        """Let everybody know of what was laid down by hand."""
        for node in self.mesh.elements.values():
            await repair(node)
        await self.mesh.caught_up()

    async def settled(self) -> None:
        """Wait until nothing moves any more, and everybody knows."""

        async def ended() -> bool:
            (row,) = await fetch(
                self.mesh.admin_url,
                "SELECT count(*) FILTER (WHERE ended_at IS NULL) AS open,"
                " count(*) FILTER (WHERE state = 'failed' AND error <> $1) AS failed"
                " FROM transfers",
                COLLECTED_FIRST,
            )
            assert not row["failed"], "a transfer has failed"
            return not row["open"]

        await until(ended, 60)
        await self.mesh.caught_up()

    async def moves_in_vain(self) -> dict[str, str]:
        """File by transfer, of those whose file was collected before it had moved."""
        rows = await fetch(
            self.mesh.admin_url,
            "SELECT transfer_id, file_id FROM transfers WHERE state = 'failed' AND error = $1",
            COLLECTED_FIRST,
        )
        return {row["transfer_id"]: row["file_id"] for row in rows}

    async def trash_emptied(self) -> None:
        """Wait until the elements have let go of what has lain in the trash for long enough."""

        def is_emptied() -> bool:
            return not any(
                one.has_bytes and one.is_due_in_trash(now())
                for file in self.stores().values()
                for one in file.values()
            )

        await until(is_emptied, 30)

    # --- users -----------------------------------------------------------------------------

    def node(self, element_id: str) -> Node:
        return self.mesh.elements[element_id]

    async def upload(self, element_id: str, *, at_once: bool = True) -> str:
        """Store a file; `at_once`: in one stream, else by a resumable upload."""
        data = self.dice.randbytes(self.dice.randint(0, 2000))
        days = self.dice.choice((1, 7, 30)) if element_id == "se-01" else 0
        text, node = f"text {len(self.facts)}", self.node(element_id)
        if at_once:
            answer: Any = await node.upload(data, description=text, retention_days=days)
        else:
            opened = await node.start_upload(description=text, retention_days=days)
            await node.write_upload(opened, data)
            answer = await _committed(node, opened, data)
        self.note(answer.file, data)
        return str(answer.file.file_id)

    def note(self, file: types_pb2.File, data: bytes) -> None:
        self.facts[file.file_id] = Fact(data, _expires_at(file), file.description)

    async def update(self, file_id: str, home: str) -> str:
        text = f"text {self.dice.random()}"
        file = types_pb2.File(description=text)
        told, _ = await _told(self._update(file_id, home, file, "description"))
        if told == OK:
            self.facts[file_id].description = text
        return told

    async def keep(self, file_id: str, home: str) -> str:
        """Extend it."""
        file = types_pb2.File(retention_days=self.dice.randint(60, 2000))
        told, answer = await _told(self._update(file_id, home, file, "retention_days"))
        if told == OK:
            self.facts[file_id].expires_at = _expires_at(answer.file)
        return told

    def _update(self, file_id: str, home: str, file: types_pb2.File, field: str) -> Any:
        request = storage_pb2.UpdateFileRequest(file_id=file_id, file=file)
        request.update_mask.paths.append(field)
        return self.node(home).call("UpdateFile", request)

    async def delete(self, file_id: str, home: str) -> str:
        request = storage_pb2.DeleteFileRequest(file_id=file_id)
        told, _ = await _told(self.node(home).call("DeleteFile", request))
        if told == OK:
            self.facts[file_id].deleted = True
        return told

    async def undelete(self, file_id: str, home: str) -> str:
        fact = self.facts[file_id]
        days = self.dice.choice((1, 7, 30)) if fact.expires_at is not None else None
        request = storage_pb2.UndeleteFileRequest(file_id=file_id, retention_days=days)
        told, answer = await _told(self.node(home).call("UndeleteFile", request))
        if told == OK:
            fact.deleted, fact.expires_at = False, _expires_at(answer.file)
        return told

    async def hold(self, file_id: str, home: str) -> str:
        return await self._hold(file_id, held=True)

    async def release(self, file_id: str, home: str) -> str:
        told = await self._hold(file_id, held=False)
        return FREE if told == OK else told

    async def _hold(self, file_id: str, *, held: bool) -> str:
        request = lifecycle_pb2.SetLegalHoldRequest(
            file_id=file_id, legal_hold=held, reason="case 4711"
        )
        lifecycle = self.collecting.lifecycle
        told, _ = await _told(lifecycle.SetLegalHold(request, **self.call))
        if told == OK:
            self.facts[file_id].held = held
        return told

    async def finalize(self, file_id: str, home: str) -> str:
        request = ingest_pb2.FinalizeFileRequest(file_id=file_id)
        told, _ = await _told(self.mesh.ingest.FinalizeFile(request, **self.call))
        if told == OK:
            self.facts[file_id].expires_at = None
        return told

    async def move(self, file_id: str, home: str) -> str:
        (target,) = set(ELEMENTS) - {home}
        request = lifecycle_pb2.MoveFileRequest(file_id=file_id, target_storage_element_id=target)
        told, _ = await _told(self.collecting.lifecycle.MoveFile(request, **self.call))
        return told

    @property
    def call(self) -> dict[str, Any]:
        return {"metadata": self.mesh.bearer(), "timeout": 20}

    async def open_upload(self, element_id: str) -> None:
        data = self.dice.randbytes(self.dice.randint(1, 2000))
        opened = await self.node(element_id).start_upload(description="resumed")
        recorded = await self.node(element_id).write_upload(opened, data)
        # S3 takes whole parts alone.
        on_s3 = self.mesh.rigs[element_id].bucket is not None
        assert recorded == (0 if on_s3 else len(data))
        self.uploads.append(OpenUpload(element_id, opened, data, recorded))

    async def is_open(self, upload: OpenUpload) -> bool:
        """Whether an upload can go on where it is."""
        try:
            answer = await self.node(upload.element_id).get_upload(upload.opened)
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.NOT_FOUND
            return False
        return bool(answer.committed_size_bytes == upload.recorded)

    async def commit_upload(self, upload: OpenUpload) -> None:
        self.uploads.remove(upload)
        node = self.node(upload.element_id)
        rest = upload.data[upload.recorded :]
        if rest:
            await node.write_upload(upload.opened, rest, offset=upload.recorded)
        answer = await _committed(node, upload.opened, upload.data)
        self.note(answer.file, upload.data)

    # --- time, and what nobody does ----------------------------------------------------------

    def grow_old(self, file_id: str, by: timedelta) -> None:
        """Time passes for a file: all that it dates goes back, on all elements."""
        for element_id, one in self.stores()[file_id].items():
            self.put(element_id, _aged(one.sidecar, by))
        fact = self.facts[file_id]
        if fact.expires_at is not None:
            fact.expires_at -= by

    async def grown_old(self) -> None:
        """Everybody has taken note of that, and trash that is due has gone."""
        await self.told()
        await self.trash_emptied()

    async def idle_uploads(self, uploads: Sequence[OpenUpload]) -> None:
        """Time passes for some uploads."""
        for upload in uploads:
            upload.idle = True

        async def are_seen() -> bool:
            for upload in (one for one in self.uploads if one.idle):
                tables = self.mesh.tables(upload.element_id)
                await fetch(
                    self.mesh.database_url,
                    f"UPDATE {tables.uploads} SET touched_at = now() - interval '8 days'"
                    " WHERE upload_id = $1",
                    upload.opened.upload_id,
                )
            dry = await self.collecting.run(dry_run=True)
            seen = sum(
                count.count
                for count in dry.counts
                if count.reason == lifecycle_pb2.COLLECTION_REASON_IDLE_UPLOAD
            )
            return seen == sum(one.idle for one in self.uploads)

        # What is in an element's memory is not idle.
        await until(are_seen, 30)

    def orphan(self, element_id: str, age: timedelta) -> None:
        """A blob that no sidecar stands for."""
        at = now() - age
        file_id = new_file_id(at)
        name = storage_filename("lost.txt", "alice", time_of(file_id), file_id)
        path, data = f"{folder_of(time_of(file_id))}/{name}", self.dice.randbytes(50)
        self.backdoors()[element_id].write(path, data)
        rig = self.mesh.rigs[element_id]
        if rig.bucket is None:
            os.utime(rig.root / path, (at.timestamp(),) * 2)
        # An object is as old as it is.
        due = age > self.orphan_keep and (rig.bucket is None or not self.orphan_keep)
        self.orphans.append(Orphan(element_id, path, data, due))

    def beside(self, file_id: str, file: Mapping[str, Lying], state: FileState) -> bool:
        """Lay a copy, or one that has arrived, beside an active home, where there is none."""
        home = home_of(file)
        fact = self.facts[file_id]
        if not home or file[home].state != "active" or len(file) > 1 or fact.rotten:
            return False
        (other,) = set(ELEMENTS) - {home}
        values: dict[str, Any] = {"state": state}
        if state is FileState.INCOMING:
            values["updated_at"] = now()
        self.put(other, replace(file[home].sidecar, **values), fact.data)
        return True

    def rot(self, file_id: str, file: Mapping[str, Lying]) -> bool:
        """Lose the bytes of a home that others have."""
        home = home_of(file)
        others = [one for name, one in file.items() if name != home and one.has_bytes]
        if not others or file[home].state != "active" or not file[home].has_bytes:
            return False
        path = path_of(file[home].sidecar).removesuffix(SIDECAR_SUFFIX)
        self.backdoors()[home].remove(path)
        self.facts[file_id].rotten = True
        return True

    async def lose_rows(self, element_id: str, file_ids: Sequence[str]) -> None:
        await fetch(
            self.mesh.database_url,
            f"DELETE FROM {self.mesh.tables(element_id).files} WHERE file_id = ANY($1)",
            list(file_ids),
        )

    async def drop_tables(self, element_id: str) -> None:
        """All that PostgreSQL has of an element; its open uploads are lost."""
        await self.mesh.stop(element_id)
        tables = self.mesh.tables(element_id)
        for table in tables.all():
            await fetch(self.mesh.database_url, f"DROP TABLE IF EXISTS {table} CASCADE")
        self.uploads = [one for one in self.uploads if one.element_id != element_id]
        await self.start(element_id)

    async def start(self, element_id: str) -> None:
        """Start it again; it drops idle uploads by itself."""
        await self.mesh.start_element(
            element_id, mode=ELEMENTS[element_id], wall=self.walls[element_id]
        )
        await self.told()
        for upload in [one for one in self.uploads if one.idle and one.element_id == element_id]:

            async def is_dropped(upload: OpenUpload = upload) -> bool:
                return not await self.is_open(upload)

            await until(is_dropped, 20)
            self.uploads.remove(upload)


async def _told(call: Awaitable[Any]) -> tuple[str, Any]:
    try:
        return OK, await call
    except grpc.aio.AioRpcError as error:
        reason: str = from_rpc_error(error).reason or error.code().name
        return reason, None


async def _committed(
    node: Node, opened: uploads_pb2.StartUploadResponse, data: bytes
) -> uploads_pb2.CommitUploadResponse:
    """Commit what was sent; what the element has not kept of it is sent again."""
    while True:
        try:
            return await node.commit_upload(opened)
        except grpc.aio.AioRpcError as error:
            if from_rpc_error(error).reason != "INCOMPLETE":
                raise
        at = (await node.get_upload(opened)).committed_size_bytes
        await node.write_upload(opened, data[at:], offset=at)


def _expires_at(file: types_pb2.File) -> datetime | None:
    return file.expires_at.ToDatetime(tzinfo=UTC) if file.HasField("expires_at") else None


def _aged(sidecar: Sidecar, by: timedelta) -> Sidecar:
    def back(at: datetime | None) -> datetime | None:
        return None if at is None else at - by

    return replace(
        sidecar,
        updated_at=sidecar.updated_at - by,
        expires_at=back(sidecar.expires_at),
        deleted_at=back(sidecar.deleted_at),
    )


@asynccontextmanager
async def walked_mesh(
    folder: Path,
    database_url: str,
    redis_url: str,
    seed: int,
    *,
    bucket: Callable[[str], S3Backdoor] | None = None,
    **settings: Any,
) -> AsyncIterator[Walked]:
    """Two elements, query and ingest; nothing is collected unless it is asked for.

    Args:
        bucket: of an element on S3; None keeps all on local files.
    """
    mesh = SmallMesh(folder, database_url, redis_url)
    mesh.settings = settings
    clock, walls = ManualClock(), {element_id: Wall() for element_id in ELEMENTS}
    try:
        await mesh.start_admin(
            now=clock, collection_seconds=0.0, sweep_seconds=3600.0, transfer_retry_seconds=0.05
        )
        for element_id, mode in ELEMENTS.items():
            await mesh.start_element(element_id, mode=mode, wall=walls[element_id])
            if bucket is not None:
                mesh.rigs[element_id].bucket = bucket(element_id)
        await asyncio.gather(mesh.start_query(), mesh.start_ingest())
        await mesh.caught_up()
        collecting = Collecting(mesh)
        await collecting.settle_in()
        orphan_keep = timedelta(days=settings.get("orphan_days", 7.0))
        yield Walked(mesh, collecting, random.Random(seed), clock, walls, orphan_keep)
    finally:
        await mesh.stop_all()
