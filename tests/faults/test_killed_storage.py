"""`kill -9` of a storage server at random moments of all kinds of writes at once.

Afterwards every write that was acknowledged is there, every one that was not is there as a whole
or not at all, and nobody had to check or rebuild anything.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import grpc
import pytest
from google.protobuf import field_mask_pb2

from artstore.v1 import storage_pb2, types_pb2, uploads_pb2
from tests.faults.stores import SIDECAR, paths_of, sidecars_of
from tests.support.caller import CHUNK_BYTES, TIMEOUT_SECONDS, Caller, Refused, sha256_of
from tests.support.mesh import MeshProcess
from tests.support.waiting import until_answered

pytestmark = pytest.mark.timeout(400)

ELEMENT = "se-01"
UPLOADERS, CHANGERS = 4, 4
SIZES = (0, 1, 1000, 700_000, 3_000_000)
# Of resumable uploads: on S3 a part that is recorded, and a tail that is not.
RESUMABLE_SIZES = (1000, 9_000_000)


BROKEN = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})


@dataclass
class Known:
    """What may be true of a file by what its callers were told.

    Attributes:
        descriptions: the acknowledged one, and those of updates whose end nobody knows.
        present: None when a delete was sent and its end is not known.
    """

    sha256: str
    descriptions: set[str] = field(default_factory=lambda: {""})
    present: bool | None = True
    revision: int = 1
    busy: bool = False


class Traffic:
    """Callers who upload, change and delete as fast as they can, and note what they were told."""

    def __init__(self, caller: Caller, seed: int) -> None:
        self.caller = caller
        self.files: dict[str, Known] = {}
        self.unsure_uploads: dict[str, bytes] = {}
        self.unsure_session: tuple[str, bytes] | None = None
        self.listings = 0
        self.acknowledged = 0
        self._chance = random.Random(seed)
        self._stopping = False

    async def run(self, until_done: asyncio.Event) -> None:
        """Go on until told otherwise."""
        stopping = asyncio.create_task(until_done.wait())
        workers = [
            *(asyncio.create_task(self._forever(self._upload)) for _ in range(UPLOADERS)),
            *(asyncio.create_task(self._forever(self._change)) for _ in range(CHANGERS)),
            asyncio.create_task(self._forever(self._upload_resumably)),
            asyncio.create_task(self._forever(self._list)),
        ]
        await stopping
        self._stopping = True
        await asyncio.gather(*workers)

    async def _forever(self, step: Callable[[], Any]) -> None:
        while not self._stopping:
            try:
                await step()
            except (grpc.aio.AioRpcError, Refused):
                await asyncio.sleep(0.02)

    async def _upload(self) -> None:
        content = self._chance.randbytes(self._chance.choice(SIZES))
        request_id = f"r{self._chance.getrandbits(64):x}"
        self.unsure_uploads[request_id] = content
        try:
            file = await self.caller.put(
                content, f"{request_id}.bin", target=ELEMENT, request_id=request_id
            )
        except Refused:
            # Mostly because nobody listens: nothing was sent.
            del self.unsure_uploads[request_id]
            raise
        del self.unsure_uploads[request_id]
        self.files[file.file_id] = Known(sha256_of(content))
        self.acknowledged += 1

    async def _upload_resumably(self) -> None:
        """Go on with the upload that a kill cut off; if there is none, begin one."""
        if not self.unsure_session:
            content = self._chance.randbytes(self._chance.choice(RESUMABLE_SIZES))
            self.unsure_session = (f"s{self._chance.getrandbits(64):x}", content)
        await self.upload_resumably(*self.unsure_session)
        self.unsure_session = None

    async def upload_resumably(self, request_id: str, content: bytes) -> None:
        """Open the upload, or find the one that an earlier call opened, and bring it to its end."""
        header = uploads_pb2.UploadHeader(
            original_filename="resumable.bin", size_bytes=len(content), request_id=request_id
        )
        request = uploads_pb2.StartUploadRequest(header=header)
        opened = await self.caller.storage(ELEMENT).StartUpload(request, **self.caller.auth)
        await self._resume(opened, content)

    async def _resume(self, opened: Any, content: bytes) -> None:
        """Send what is missing of a resumable upload, and commit it."""
        stub, upload_id = self.caller.storage(ELEMENT), opened.upload_id
        auth = {
            "metadata": (*self.caller.metadata, ("artstore-upload-token", opened.upload_token)),
            "timeout": TIMEOUT_SECONDS,
        }
        found = await stub.GetUpload(uploads_pb2.GetUploadRequest(upload_id=upload_id), **auth)
        request = uploads_pb2.WriteUploadRequest
        messages = [request(upload_id=upload_id)]
        for at in range(found.committed_size_bytes, len(content), CHUNK_BYTES):
            data = content[at : at + CHUNK_BYTES]
            messages.append(request(chunk=types_pb2.Chunk(offset=at, data=data)))
        if not found.HasField("file"):
            await stub.WriteUpload(iter(messages), **auth)
        answer = await stub.CommitUpload(
            uploads_pb2.CommitUploadRequest(
                upload_id=upload_id, size_bytes=len(content), sha256=sha256_of(content)
            ),
            **auth,
        )
        self.files.setdefault(answer.file.file_id, Known(sha256_of(content)))
        self.acknowledged += 1

    async def _list(self) -> None:
        """No partial file is ever visible: what is listed is whole, by its own account."""
        request = storage_pb2.StorageServiceListFilesRequest(page_size=1000)
        page = await self.caller.storage(ELEMENT).ListFiles(request, **self.caller.auth)
        for file in page.files:
            assert (len(file.sha256), file.state) == (64, types_pb2.FILE_STATE_ACTIVE)
            known = self.files.get(file.file_id)
            assert known is None or file.sha256 == known.sha256
        files = [file_id for file_id, known in self.files.items() if known.present]
        if files:
            file_id = self._chance.choice(files)
            try:
                content = await self.caller.read(ELEMENT, file_id)
            except grpc.aio.AioRpcError as error:
                # Deleted meanwhile, or killed.
                assert error.code() in {*BROKEN, grpc.StatusCode.NOT_FOUND}, error
                raise
            assert sha256_of(content) == self.files[file_id].sha256
        self.listings += 1
        await asyncio.sleep(0.1)

    async def _change(self) -> None:
        able = [i for i, known in self.files.items() if not known.busy]
        if not able:
            await asyncio.sleep(0.01)
            return
        file_id = self._chance.choice(able)
        known = self.files[file_id]
        known.busy = True
        try:
            if not known.present:
                await self._undelete(file_id, known)
            elif self._chance.random() < 0.3:
                await self._delete(file_id, known)
            else:
                await self._update(file_id, known)
        finally:
            known.busy = False

    async def _delete(self, file_id: str, known: Known) -> None:
        known.present = None
        request = storage_pb2.DeleteFileRequest(file_id=file_id)
        try:
            answer = await self.caller.storage(ELEMENT).DeleteFile(request, **self.caller.auth)
        except grpc.aio.AioRpcError as error:
            _expect_broken(error)
            raise
        known.present, known.revision = False, answer.file.revision
        self.acknowledged += 1

    async def _undelete(self, file_id: str, known: Known) -> None:
        """Of a file that is deleted, or perhaps is."""
        known.present = None
        request = storage_pb2.UndeleteFileRequest(file_id=file_id)
        try:
            answer = await self.caller.storage(ELEMENT).UndeleteFile(request, **self.caller.auth)
        except grpc.aio.AioRpcError as error:
            _expect_broken(error)
            raise
        known.present, known.revision = True, answer.file.revision
        self.acknowledged += 1

    async def _update(self, file_id: str, known: Known) -> None:
        told = f"{self._chance.getrandbits(32):x}"
        known.descriptions.add(told)
        request = storage_pb2.UpdateFileRequest(
            file_id=file_id,
            file=types_pb2.File(description=told),
            update_mask=field_mask_pb2.FieldMask(paths=["description"]),
        )
        try:
            answer = await self.caller.storage(ELEMENT).UpdateFile(request, **self.caller.auth)
        except grpc.aio.AioRpcError as error:
            _expect_broken(error)
            raise
        assert answer.file.revision > known.revision
        known.revision, known.descriptions = answer.file.revision, {told}
        self.acknowledged += 1


def _expect_broken(error: grpc.aio.AioRpcError) -> None:
    assert error.code() in BROKEN, error


async def _kill_and_wait(mesh: MeshProcess, traffic: Traffic, chance: random.Random) -> float:
    """Let some writes be acknowledged, kill the server, and wait until the next ones are."""
    before = traffic.acknowledged

    async def busy() -> bool:
        return traffic.acknowledged > before + 3

    await until_answered(busy, 60, "writes are acknowledged again")
    await asyncio.sleep(chance.random() * 0.6)
    began = time.monotonic()
    pid = mesh.kill_one(ELEMENT)
    await asyncio.to_thread(mesh.wait_restarted, ELEMENT, pid, 60.0)
    before = traffic.acknowledged

    async def answers() -> bool:
        return traffic.acknowledged > before

    await until_answered(answers, 60, "the restarted server takes writes")
    return time.monotonic() - began


@pytest.mark.parametrize(
    "broken_mesh", ["local", pytest.param("s3", marks=pytest.mark.full)], indirect=True
)
@pytest.mark.parametrize(
    "kills", [5, pytest.param(50, marks=[pytest.mark.full, pytest.mark.timeout(1800)])]
)
async def test_acknowledged_writes_survive_kills_at_random_moments(
    broken_mesh: MeshProcess,
    kills: int,
    record_property: Callable[[str, object], None],
) -> None:
    seed = random.randrange(2**32)
    record_property("seed", seed)
    print(f"seed {seed}")
    chance = random.Random(seed)
    async with Caller(broken_mesh.file) as caller:
        # A storm before this one has left files.
        earlier = (await caller.listed(ELEMENT)).keys()
        traffic, done = Traffic(caller, seed), asyncio.Event()
        running = asyncio.create_task(traffic.run(done))
        restarts: list[float] = []
        try:
            while len(restarts) < kills:
                restarts.append(await _kill_and_wait(broken_mesh, traffic, chance))
        finally:
            done.set()
            await running
        record_property("restart_seconds", sorted(restarts)[len(restarts) // 2])
        print(f"{traffic.acknowledged} acknowledged, restarts {[round(s, 1) for s in restarts]}")
        await _repeat_uploads(traffic)
        assert traffic.listings > kills
        await _everything_is_whole(broken_mesh, caller, traffic, earlier)


async def _repeat_uploads(traffic: Traffic) -> None:
    """Send each upload again whose end nobody knows: it makes one file, not two."""
    for request_id, content in traffic.unsure_uploads.items():
        file = await traffic.caller.put(
            content, f"{request_id}.bin", target=ELEMENT, request_id=request_id
        )
        traffic.files[file.file_id] = Known(sha256_of(content))
    if traffic.unsure_session:
        await traffic.upload_resumably(*traffic.unsure_session)


async def _everything_is_whole(
    mesh: MeshProcess, caller: Caller, traffic: Traffic, earlier: Set[str]
) -> None:
    # Intents are replayed at start and every ten seconds, and on S3 while a PUT may still land.
    await until_answered(lambda: _no_intents(mesh), 60, "no write is pending")
    listed = await caller.listed(ELEMENT)
    sidecars = await asyncio.to_thread(sidecars_of, mesh, ELEMENT)
    active = {file_id for file_id, one in sidecars.items() if one["state"] != "deleted"}
    assert listed.keys() == active
    assert listed.keys() - earlier <= traffic.files.keys(), "a file that no caller made"
    for file_id, known in traffic.files.items():
        if known.present is False:
            assert file_id not in listed, "an acknowledged delete was lost"
        elif known.present:
            assert file_id in listed, "an acknowledged file was lost"
        assert sidecars[file_id]["revision"] >= known.revision, "an acknowledged change was lost"
        if file_id in listed:
            file = listed[file_id]
            assert file.sha256 == known.sha256
            assert file.description in known.descriptions, "an acknowledged update was lost"
            assert sidecars[file_id]["description"] == file.description
            assert sidecars[file_id]["revision"] == file.revision
    last = {file_id: sidecars[file_id]["revision"] for file_id in traffic.files.keys() - earlier}
    await _each_change_is_told_once(mesh, last)
    await _bytes_are_whole(caller, listed)
    await _no_leftovers(mesh, caller)


async def _each_change_is_told_once(mesh: MeshProcess, last: dict[str, int]) -> None:
    """Every revision of a file, up to its last, was told once as its caller's, by the server that
    made it or one that was started after it.
    """
    connection = await asyncpg.connect(mesh.file.database_url)
    try:
        told = await connection.fetch(
            "SELECT file_id, array_agg(revision ORDER BY revision) AS revisions,"
            " bool_and(actor <> '' AND request_id <> '') AS named"
            " FROM public.storage_elem_01_feed WHERE cause = 'caller' GROUP BY file_id"
        )
    finally:
        await connection.close()
    found = {one["file_id"]: one for one in told}
    for file_id, revision in last.items():
        one = found[file_id]
        assert (one["revisions"], one["named"]) == ([*range(1, revision + 1)], True)


async def _bytes_are_whole(caller: Caller, listed: dict[str, types_pb2.File]) -> None:
    slots = asyncio.Semaphore(8)

    async def check(file: types_pb2.File) -> None:
        async with slots:
            digest = hashlib.sha256()
            async for part in caller.parts(ELEMENT, file.file_id):
                digest.update(part)
            assert digest.hexdigest() == file.sha256
            got = await caller.get(ELEMENT, file.file_id)
            assert (got.revision, got.description) == (file.revision, file.description)

    await asyncio.gather(*(check(file) for file in listed.values()))


async def _no_intents(mesh: MeshProcess) -> bool:
    connection = await asyncpg.connect(mesh.file.database_url)
    try:
        count = "SELECT count(*) FROM public.storage_elem_01_pending_writes"
        return not await connection.fetchval(count)
    finally:
        await connection.close()


async def _no_leftovers(mesh: MeshProcess, caller: Caller) -> None:
    """No stage, no half-written sidecar, no blob without a sidecar, no room promised."""

    def strays() -> list[str]:
        paths = paths_of(mesh, ELEMENT)
        return sorted(
            path for path in paths if not path.endswith(SIDECAR) and f"{path}{SIDECAR}" not in paths
        )

    async def clean() -> bool:
        found = await asyncio.to_thread(strays)
        return not found and (await caller.element(ELEMENT)).reserved_bytes == 0

    try:
        await until_answered(clean, 20, "nothing but files is in the store")
    except TimeoutError:
        raise AssertionError(f"left in the store: {strays()}") from None
