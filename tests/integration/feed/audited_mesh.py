"""A small mesh whose audit is compared with what was done in it, whatever happens to admin."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil

from artstore.v1 import (
    accounts_pb2,
    audit_pb2,
    audit_pb2_grpc,
    storage_pb2,
    types_pb2,
    uploads_pb2,
)
from tests.integration.feed.small_mesh import SmallMesh, fetch
from tests.support import forking
from tests.support.storage_rig import Node, accepted, chunk_of
from tests.support.waiting import until, until_answered

USERS = ("anna", "boris", "carla")

Done = tuple[str, str, str, str, str]
"""Action, actor, file id, revision and x-request-id of a change."""


class AuditedMesh(SmallMesh):
    """`done` collects each change that was acknowledged, `lost` those whose entry in the feed a
    test removed. Admin is a process of its own after `fork_admin`, at the same port.
    """

    def __init__(self, folder: Path, database_url: str, redis_url: str, *, seed: int = 1) -> None:
        super().__init__(folder, database_url, redis_url)
        self.port = _free_port()
        self.done: list[Done] = []
        self.lost: list[Done] = []
        self.holes_before = 0
        self.process: psutil.Process | None = None
        self._random = random.Random(seed)
        self._users: dict[str, str] = {}
        self._active: list[tuple[str, str]] = []
        self._deleted: list[tuple[str, str]] = []
        self._calls = 0

    async def start(self, elements: Sequence[str]) -> None:
        await self.start_admin(port=self.port)
        for element_id in elements:
            await self.start_element(element_id)
        for name in USERS:
            made = await self.admin.accounts.CreateServiceAccount(
                accounts_pb2.CreateServiceAccountRequest(
                    client_id=name, role=accounts_pb2.ROLE_USER, namespaces=["*"]
                ),
                metadata=self.bearer(),
                timeout=10,
            )
            self._users[name] = await self.admin.issue(name, made.client_secret)

    # --- admin ---------------------------------------------------------------------------

    async def fork_admin(self) -> None:
        """Start admin as a process of its own, at the port where it was."""
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("ARTSTORE_")
        } | {
            "ARTSTORE_HOST": "localhost",
            "ARTSTORE_PORT": str(self.port),
            "ARTSTORE_METRICS_PORT": "0",
            "ARTSTORE_DATABASE_URL": self.database_url,
            "ARTSTORE_REDIS_URL": self.redis_url,
            "ARTSTORE_DATA_DIR": str(self.folder),
            "ARTSTORE_LOG_PATH": str(self.folder / "admin.log"),
        }
        self.process = await asyncio.to_thread(forking.start, "admin_server", environment)
        await until_answered(self._admin_answers, 30, "admin answers")

    async def kill_admin(self) -> None:
        assert self.process is not None
        self.process.kill()
        await asyncio.to_thread(self.process.wait, 10)
        self.process = None
        # Its lead would end in some seconds.
        await self.pass_lead()

    @asynccontextmanager
    async def nobody_following(self) -> AsyncIterator[None]:
        """Meanwhile no admin puts on record what elements tell, as if it were away."""
        taken = "UPDATE audit_cursors SET leader = 'nobody', leader_until = now() + interval"
        await fetch(self.admin_url, f"{taken} '1 hour'")
        try:
            yield
        finally:
            await self.pass_lead()

    async def pass_lead(self) -> None:
        """Whoever asks first follows from now on."""
        await fetch(
            self.admin_url, "UPDATE audit_cursors SET leader = '', leader_until = '-infinity'"
        )

    async def _admin_answers(self) -> bool:
        async with self.asking() as audit:
            await audit.ListAuditEvents(
                audit_pb2.ListAuditEventsRequest(page_size=1), metadata=self.bearer(), timeout=5
            )
        return True

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[Any]:
        """A stub of the audit."""
        async with grpc.aio.insecure_channel(f"localhost:{self.port}") as channel:
            yield audit_pb2_grpc.AuditServiceStub(channel)

    async def stop_all(self) -> None:
        if self.process is not None:
            await self.kill_admin()
        await super().stop_all()

    # --- what is done ----------------------------------------------------------------------

    async def change_some(self, count: int, *, at_once: int = 8) -> None:
        """Random changes of random users on random elements, some at a time."""
        slots = asyncio.Semaphore(at_once)

        async def one() -> None:
            async with slots:
                await self._change()

        await asyncio.gather(*(one() for _ in range(count)))

    async def _change(self) -> None:
        chance = self._random.random()
        if chance < 0.15 and self._active:
            await self._do("DeleteFile", "file.deleted", self._active, self._deleted)
        elif chance < 0.25 and self._deleted:
            await self._do("UndeleteFile", "file.undeleted", self._deleted, self._active)
        elif chance < 0.55 and self._active:
            await self._do("UpdateFile", "file.updated", self._active, self._active)
        else:
            await self.upload(self._random.choice(sorted(self.elements)))

    async def _do(
        self,
        method: str,
        action: str,
        come: list[tuple[str, str]],
        go: list[tuple[str, str]],
    ) -> None:
        element_id, file_id = come.pop(self._random.randrange(len(come)))
        user, request_id, metadata = self._caller()
        request: Any = getattr(storage_pb2, f"{method}Request")(file_id=file_id)
        if method == "UpdateFile":
            request.file.CopyFrom(types_pb2.File(description=f"said in {request_id}"))
        stub = self.elements[element_id].stub
        answer = await getattr(stub, method)(request, metadata=metadata, timeout=30)
        self._note(action, user, answer.file, request_id)
        go.append((element_id, file_id))

    async def upload(self, element_id: str) -> types_pb2.File:
        """Upload a file, half of them twice with one request_id, which is one change."""
        node = self.elements[element_id]
        user, request_id, metadata = self._caller()
        twice = f"once-{request_id}" if self._random.random() < 0.5 else ""
        stored = await _upload(node, metadata, twice)
        if twice:
            _, _, again = self._caller(user)
            assert (await _upload(node, again, twice)).file_id == stored.file_id
        self._note("file.created", user, stored, request_id)
        self._active.append((element_id, stored.file_id))
        return stored

    def _caller(self, user: str = "") -> tuple[str, str, tuple[tuple[str, str], ...]]:
        self._calls += 1
        user, request_id = user or self._random.choice(USERS), f"call-{self._calls}"
        metadata = (
            *self.bearer(),
            ("artstore-caller", self._users[user]),
            ("x-request-id", request_id),
        )
        return user, request_id, metadata

    def _note(self, action: str, user: str, file: types_pb2.File, request_id: str) -> None:
        self.done.append((action, user, file.file_id, str(file.revision), request_id))

    # --- what is on record -------------------------------------------------------------------

    async def caught_up(self, seconds: float = 60.0) -> None:
        """Wait until the audit has every change there is."""

        async def has_all() -> bool:
            rows = await fetch(self.admin_url, "SELECT * FROM audit_cursors")
            here = {row["storage_element_id"]: (row["epoch"], row["sequence"]) for row in rows}
            return here == await self._heads()

        await until(has_all, seconds)

    async def events(self) -> list[audit_pb2.AuditEvent]:
        """All events, oldest first."""
        async with self.asking() as audit:
            pieces = audit.ExportAuditEvents(
                audit_pb2.ExportAuditEventsRequest(), metadata=self.bearer(), timeout=60
            )
            return [event async for piece in pieces for event in piece.events]

    async def holes(self) -> list[dict[str, str]]:
        """Those after the first `holes_before`."""
        return (await self.all_holes())[self.holes_before :]

    async def all_holes(self) -> list[dict[str, str]]:
        return [
            {"element": event.storage_element_id, **event.details}
            for event in await self.events()
            if event.action == "feed.hole"
        ]

    async def compare(self) -> None:
        """What was done is on record once, but for what is lost, and nothing else is."""
        await self.caught_up()
        events = await self.events()
        found = Counter(
            (one.action, one.actor, one.resource, one.details["revision"], one.request_id)
            for one in events
            if one.action.startswith("file.")
        )
        expected = Counter(self.done) - Counter(self.lost)
        assert found == expected, (
            f"missing: {sorted((expected - found).elements())[:4]},"
            f" too many: {sorted((found - expected).elements())[:4]}"
        )
        async with self.asking() as audit:
            verdict = await audit.VerifyAuditEvents(
                audit_pb2.VerifyAuditEventsRequest(), metadata=self.bearer(), timeout=60
            )
        assert verdict.valid
        assert verdict.verified_count == len(events)


async def _upload(node: Node, metadata: Any, request_id: str) -> types_pb2.File:
    call = node.stub.Upload(metadata=metadata, timeout=30)
    header = uploads_pb2.UploadHeader(original_filename="a.txt", request_id=request_id)
    await call.write(uploads_pb2.UploadRequest(header=header))
    if await accepted(call):
        await call.write(uploads_pb2.UploadRequest(chunk=chunk_of(b"hello", 0)))
        await call.write(uploads_pb2.UploadRequest(finish=uploads_pb2.UploadFinish()))
        await call.done_writing()
    answer: uploads_pb2.UploadResponse = await call
    return answer.file


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        port: int = taken.getsockname()[1]
        return port


@asynccontextmanager
async def audited_mesh(
    folder: Path, database_url: str, redis_url: str, *, elements: Sequence[str], **settings: Any
) -> AsyncIterator[AuditedMesh]:
    """Started; `settings` are those of the elements."""
    mesh = AuditedMesh(folder, database_url, redis_url)
    mesh.settings = settings
    try:
        await mesh.start(elements)
        yield mesh
    finally:
        await mesh.stop_all()
