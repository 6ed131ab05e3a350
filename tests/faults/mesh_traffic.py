"""Callers of a whole mesh who upload, change, read, move, finalize and delete all the time."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable

import grpc

from artstore.v1 import query_pb2, types_pb2
from artstore_client import Client
from artstore_client.errors import (
    Aborted,
    ArtStoreError,
    FailedPrecondition,
    NotFound,
    Unavailable,
    from_rpc_error,
)
from tests.faults.whole_mesh import Expected

UPLOADERS, CHANGERS, READERS, MOVERS = 2, 3, 4, 2
SIZES = (0, 1, 1000, 50_000, 700_000, 3_000_000)
# More of them are moved and changed, and none made.
MOST_FILES = 250
PAUSE_SECONDS = 0.03
# What cannot be done while something is down, or is decided by who came first.
EXPECTED_REFUSALS = (Unavailable, Aborted)


class MeshTraffic:
    """See the module; what callers were told is noted.

    Attributes:
        files: by id, those whose upload was acknowledged.
        unsure: request ids and contents of uploads whose end nobody knows.
        acknowledged: calls of each kind that came to their end.
        wrong: what no kill may bring about.
    """

    def __init__(self, client: Client, seed: int) -> None:
        self.client = client
        self.files: dict[str, Expected] = {}
        self.unsure: dict[str, bytes] = {}
        self.acknowledged: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.refused: Counter[str] = Counter()
        self._chance = random.Random(seed)
        self._stopping = False

    async def run(self, until_done: asyncio.Event) -> None:
        """Go on until told otherwise; each then ends what it has begun."""
        works: list[Callable[[], Awaitable[str]]] = [
            *[self._upload] * UPLOADERS,
            *[self._change] * CHANGERS,
            *[self._read] * READERS,
            self._ask_query,
            self._finalize,
            *[self._move] * MOVERS,
        ]
        workers = [asyncio.create_task(self._forever(work)) for work in works]
        await until_done.wait()
        self._stopping = True
        await asyncio.gather(*workers)

    async def repeat_uploads(self) -> None:
        """Send each upload again whose end nobody knows: it makes one file, not two."""
        for request_id, content in dict(self.unsure).items():
            await self._send(request_id, content)

    # --- inside ------------------------------------------------------------------------

    async def _forever(self, work: Callable[[], Awaitable[str]]) -> None:
        while not self._stopping:
            try:
                done = await work()
            except EXPECTED_REFUSALS as error:
                self.refused[f"{type(error).__name__} {error.reason}"] += 1
            except ArtStoreError as error:
                self.wrong.append(f"{work.__name__}: {error!r} {error.reason}")
            else:
                if done:
                    self.acknowledged[done] += 1
            await asyncio.sleep(PAUSE_SECONDS)

    async def _upload(self) -> str:
        if sum(one.present is not False for one in self.files.values()) >= MOST_FILES:
            await asyncio.sleep(0.5)
            return ""
        content = os.urandom(self._chance.choice(SIZES))
        request_id = f"r{self._chance.getrandbits(64):x}"
        self.unsure[request_id] = content
        await self._send(request_id, content)
        await asyncio.sleep(0.2)
        return "upload"

    async def _send(self, request_id: str, content: bytes) -> None:
        stored = await self.client.upload(
            content,
            name=f"{request_id}.bin",
            tags=["storm", "b"],
            attributes={"n": request_id},
            version="7",
            request_id=request_id,
        )
        del self.unsure[request_id]
        self.files.setdefault(stored.file_id, Expected(stored.file))

    def _any(self, *, idle: bool = False) -> tuple[str, Expected] | None:
        """A file that is there."""
        able = [
            (file_id, one)
            for file_id, one in self.files.items()
            if one.present and not (idle and one.busy)
        ]
        return self._chance.choice(able) if able else None

    async def _change(self) -> str:
        one = self._any(idle=True)
        if one is None:
            return ""
        file_id, known = one
        known.busy = True
        try:
            if self._chance.random() < 0.04:
                return await self._delete(file_id, known)
            text = f"{self._chance.getrandbits(48):x}"
            known.descriptions.add(text)
            file = await self.client.update(file_id, description=text)
            if file.description != text:
                self.wrong.append(f"{file_id}: {text} was acknowledged as {file.description}")
            known.descriptions = {text}
            return "update"
        finally:
            known.busy = False

    async def _delete(self, file_id: str, known: Expected) -> str:
        known.present = None
        try:
            await self.client.delete(file_id)
        except FailedPrecondition as error:
            if error.reason != "MODE":
                raise
            # It was finalized meanwhile, and stays.
            known.present = True
            return ""
        known.present = False
        return "delete"

    async def _read(self) -> str:
        one = self._any()
        if one is None:
            return ""
        file_id, known = one
        before = set(known.descriptions)
        try:
            if self._chance.random() < 0.5:
                file = await self.client.stat(file_id)
                self._compare(file_id, known, before, file)
                return "stat"
            data = b"".join([piece async for piece in self.client.download(file_id)])
        except NotFound as error:
            if known.present:
                self.wrong.append(f"{file_id} was not found: {error!r} {error.reason}")
            return ""
        if len(data) != known.file.size_bytes:
            self.wrong.append(f"{file_id} came short")
        return "download"

    def _compare(
        self, file_id: str, known: Expected, before: set[str], file: types_pb2.File
    ) -> None:
        if file.sha256 != known.file.sha256:
            self.wrong.append(f"{file_id} has other bytes")
        is_settled = len(before) == 1 and not known.busy and before == known.descriptions
        # While its home is silent a reader gets it from where it was before, as it was there.
        is_home = file.state == types_pb2.FILE_STATE_ACTIVE
        if is_settled and is_home and file.description not in before:
            where = f"{file.storage_element_id}, revision {file.revision}"
            self.wrong.append(f"{file_id} at {where} says {file.description}, not {before}")

    async def _ask_query(self) -> str:
        """By its id, of the index."""
        one = self._any()
        if one is None:
            return ""
        file_id, known = one
        connection = self.client._connection
        try:
            await connection.query.GetFile(
                query_pb2.QueryServiceGetFileRequest(file_id=file_id),
                metadata=await connection.calls.metadata(),
                timeout=10,
            )
        except grpc.aio.AioRpcError as error:
            told = from_rpc_error(error)
            if isinstance(told, NotFound):
                if known.present:
                    self.wrong.append(f"{file_id} was not found by query: {told!r} {told.reason}")
                return ""
            raise told from error
        return "query"

    async def _finalize(self) -> str:
        await asyncio.sleep(0.3)
        return await self._asked("finalize", self.client.finalize)

    async def _move(self) -> str:
        await asyncio.sleep(0.1)

        async def move(file_id: str) -> object:
            return await self.client.move(file_id, target=f"se-0{self._chance.choice((1, 2))}")

        return await self._asked("move", move)

    async def _asked(self, name: str, ask: Callable[[str], Awaitable[object]]) -> str:
        """Have any file go elsewhere; nobody may say that there is none which is there."""
        one = self._any()
        if one is None:
            return ""
        file_id, known = one
        try:
            await ask(file_id)
        except NotFound as error:
            if known.present:
                self.wrong.append(f"{file_id} was not found by {name}: {error!r} {error.reason}")
            return ""
        except FailedPrecondition as error:
            self.refused[f"{name}: {error.reason}"] += 1
            return ""
        return name
