"""Uploads and downloads whose client or servers are killed at a random byte.

A resumable upload and a download end with the right bytes all the same; a stream that was cut
before its `finish` leaves nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest

from artstore_client import Client, UploadedFile
from launch import processes
from tests.faults.killed_steps import Moves
from tests.faults.stops import Stops
from tests.faults.stores import holdings, nothing_left
from tests.support.caller import INGEST, Caller
from tests.support.command import Command, make_file
from tests.support.mesh import MeshProcess, alive
from tests.support.waiting import until_answered

# The first test of each kind also starts its mesh.
pytestmark = pytest.mark.timeout(180)

MEBIBYTE = 2**20
ELEMENT = "se-01"
# A checkpoint of the element and a half.
SIZE = 96 * MEBIBYTE
BACK_SECONDS = 20.0
# Where the store makes no difference to what is killed.
MOSTLY_LOCAL = pytest.mark.parametrize(
    "broken_mesh", ["local", pytest.param("s3", marks=pytest.mark.full)], indirect=True
)


@pytest.fixture
def seed(record_property: Callable[[str, object], None]) -> int:
    """Seeds the choice of the byte; in the report when the test fails."""
    found = random.randrange(2**32)
    record_property("seed", found)
    print(f"seed {found}")
    return found


@pytest.fixture
async def caller(broken_mesh: MeshProcess) -> AsyncIterator[Caller]:
    """A caller of the mesh that is broken, when it is whole."""
    async with Caller(broken_mesh.file) as found:
        await whole(found)
        yield found


async def whole(caller: Caller) -> None:
    """Wait until an upload through ingest goes to the first element again."""

    async def writes() -> bool:
        return (await caller.element(ELEMENT)).writable and await caller.health(INGEST)

    await until_answered(writes, BACK_SECONDS, "the mesh is whole")


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def downloaded(caller: Caller, file_id: str) -> str:
    """SHA-256 of what the element gives back."""
    digest = hashlib.sha256()
    async for part in caller.parts(ELEMENT, file_id):
        digest.update(part)
    return digest.hexdigest()


@MOSTLY_LOCAL
async def test_upload_of_a_killed_client_is_resumed_by_the_next_one(
    broken_mesh: MeshProcess, caller: Caller, tmp_path: Path, seed: int
) -> None:
    source, chance = tmp_path / "big.bin", random.Random(seed)
    sha256 = await asyncio.to_thread(make_file, source, SIZE, seed)
    before = await caller.listed(ELEMENT)
    for lowest in (8, 40):
        byte = chance.randrange(lowest * MEBIBYTE, (lowest + 30) * MEBIBYTE)
        command = Command(broken_mesh, tmp_path, "put", "--json", str(source))
        await asyncio.to_thread(command.kill_at, source, byte)
        assert (await caller.listed(ELEMENT)).keys() == before.keys()
    result = await asyncio.to_thread(
        Command(broken_mesh, tmp_path, "put", "--json", str(source)).result
    )
    assert result["sha256"] == sha256
    # What the second client had sent lay on the element; the last pieces may still be in its pipe.
    assert result["resumed_at_bytes"] > 20 * MEBIBYTE
    assert await downloaded(caller, result["file_id"]) == sha256
    assert (await caller.listed(ELEMENT)).keys() == {*before, result["file_id"]}
    assert list((tmp_path / "artstore" / "uploads").iterdir()) == []


class KillsOnTheWay:
    """A progress callback that kills a process of the mesh each time a byte is passed."""

    def __init__(self, mesh: MeshProcess, name: str, at: list[int]) -> None:
        self._mesh = mesh
        self._name = name
        self._at = sorted(at, reverse=True)
        self.kills = 0

    def __call__(self, sent: int, _: int | None) -> None:
        if self._at and sent >= self._at[-1] and self._killed():
            self._at.pop()
            self.kills += 1

    def _killed(self) -> bool:
        """Kill it, unless it is just starting again: then the next byte is as good."""
        pid = self._mesh.file.processes.get(self._name, 0)
        if not alive([pid]):
            return False
        self._mesh.kill_one(self._name)
        return True


async def test_upload_goes_on_when_the_storage_server_is_killed(
    broken_mesh: MeshProcess, caller: Caller, tmp_path: Path, seed: int
) -> None:
    source, chance = tmp_path / "big.bin", random.Random(seed)
    sha256 = await asyncio.to_thread(make_file, source, SIZE, seed)
    kills = KillsOnTheWay(
        broken_mesh,
        ELEMENT,
        [chance.randrange(MEBIBYTE, 40 * MEBIBYTE), chance.randrange(66 * MEBIBYTE, SIZE)],
    )
    async with Client.connect(mesh_file=broken_mesh.mesh_file, state_folder=tmp_path) as client:
        uploaded = await client.upload(source, progress=kills)
    assert kills.kills == 2
    assert uploaded.file.sha256 == sha256
    assert await downloaded(caller, uploaded.file_id) == sha256


@MOSTLY_LOCAL
async def test_upload_goes_on_when_ingest_is_killed(
    broken_mesh: MeshProcess, caller: Caller, tmp_path: Path, seed: int
) -> None:
    source, chance = tmp_path / "big.bin", random.Random(seed)
    sha256 = await asyncio.to_thread(make_file, source, 64 * MEBIBYTE, seed)
    kills = KillsOnTheWay(broken_mesh, INGEST, [chance.randrange(MEBIBYTE, 60 * MEBIBYTE)])
    # The element's own address leads nowhere from here, so that all bytes go through ingest.
    nowhere = {ELEMENT: f"127.0.0.1:{processes.free_port()}"}
    async with Client.connect(
        mesh_file=broken_mesh.mesh_file, storage=nowhere, state_folder=tmp_path
    ) as client:
        uploaded = await client.upload(source, progress=kills)
    assert kills.kills == 1
    assert uploaded.file.sha256 == sha256
    assert await downloaded(caller, uploaded.file_id) == sha256


@MOSTLY_LOCAL
async def test_download_goes_on_when_the_storage_server_is_killed(
    broken_mesh: MeshProcess, caller: Caller, tmp_path: Path, seed: int
) -> None:
    content, target = random.Random(seed).randbytes(32 * MEBIBYTE), tmp_path / "got"
    kills = KillsOnTheWay(broken_mesh, ELEMENT, [random.Random(seed).randrange(32 * MEBIBYTE)])
    async with Client.connect(mesh_file=broken_mesh.mesh_file, state_folder=tmp_path) as client:
        uploaded = await client.upload(content, name="down.bin")
        result = await client.download(uploaded.file_id, target, progress=kills)
    assert kills.kills == 1
    assert result.verified
    assert await asyncio.to_thread(target.read_bytes) == content


async def test_frozen_element_costs_callers_of_the_others_nothing(
    broken_local: MeshProcess, tmp_path: Path
) -> None:
    async with Client.connect(
        mesh_file=broken_local.mesh_file, state_folder=tmp_path, call_timeout_seconds=3.0
    ) as client:
        uploaded = await client.upload(b"x", name="a", permanent=True)
        broken_local.freeze("se-02")
        try:
            assert (await client.stat(uploaded.file_id)).storage_element_id == "se-03"
            reports = await client.elements()
        finally:
            broken_local.thaw("se-02")
    assert [report.error is None for report in reports] == [True, False, True]


@MOSTLY_LOCAL
@pytest.mark.parametrize("victim", [INGEST, ELEMENT])
async def test_small_upload_in_one_stream_is_sent_again(
    broken_mesh: MeshProcess, caller: Caller, tmp_path: Path, seed: int, victim: str
) -> None:
    content = random.Random(seed).randbytes(8 * MEBIBYTE)
    before = await caller.listed(ELEMENT)
    kills = KillsOnTheWay(broken_mesh, victim, [random.Random(seed).randrange(8 * MEBIBYTE)])
    async with Client.connect(mesh_file=broken_mesh.mesh_file, state_folder=tmp_path) as client:
        uploaded: UploadedFile = await client.upload(content, name="small.bin", progress=kills)
    assert kills.kills == 1
    element = uploaded.file.storage_element_id
    await whole(caller)
    assert await caller.read(element, uploaded.file_id) == content
    new = (await caller.listed(ELEMENT)).keys() - before.keys()
    assert new == ({uploaded.file_id} if element == ELEMENT else set())


@pytest.mark.parametrize("target", [INGEST, ELEMENT])
@pytest.mark.parametrize("how", ["half-closed", "cancelled"])
async def test_stream_cut_before_finish_leaves_nothing(
    broken_mesh: MeshProcess, caller: Caller, target: str, how: str
) -> None:
    before = await holdings(broken_mesh, caller)
    async with caller.upload_to(target) as upload:
        await upload.header(original_filename="cut.bin")
        await upload.send(random.randbytes(20 * MEBIBYTE))
        during = (await holdings(broken_mesh, caller)).beyond(before)
        assert during["reserved"] >= 20 * MEBIBYTE
        if how == "cancelled":
            upload.cancel()
        else:
            with pytest.raises(grpc.aio.AioRpcError):
                await upload.answer()
    await nothing_left(broken_mesh, caller, before)


@MOSTLY_LOCAL
async def test_stream_of_a_killed_client_leaves_nothing(
    broken_mesh: MeshProcess, caller: Caller, tmp_path: Path
) -> None:
    before = await holdings(broken_mesh, caller)
    command = Command(broken_mesh, tmp_path, "put", "-", "--name", "cut.bin", stdin=subprocess.PIPE)
    feed = command.process.stdin
    assert feed is not None
    # A pipe cannot be sought, so it goes in one stream; what the pipe has taken was mostly sent.
    await asyncio.to_thread(feed.write, random.randbytes(20 * MEBIBYTE))

    async def under_way() -> bool:
        return "reserved" in (await holdings(broken_mesh, caller)).beyond(before)

    await until_answered(under_way, 10, "the upload has begun")
    command.kill()
    await nothing_left(broken_mesh, caller, before)


@pytest.mark.parametrize("victim", [INGEST, ELEMENT])
async def test_stream_through_a_killed_server_leaves_nothing(
    broken_mesh: MeshProcess, caller: Caller, victim: str
) -> None:
    before = await holdings(broken_mesh, caller)
    async with caller.upload_to(INGEST) as upload:
        await upload.header(original_filename="cut.bin")
        await upload.send(random.randbytes(12 * MEBIBYTE))
        pid = broken_mesh.kill_one(victim)
        with pytest.raises(grpc.aio.AioRpcError) as broken:
            await upload.send(random.randbytes(12 * MEBIBYTE), offset=12 * MEBIBYTE)
            await upload.finish()
        assert broken.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL}
    await asyncio.to_thread(broken_mesh.wait_restarted, victim, pid)
    await whole(caller)
    await nothing_left(broken_mesh, caller, before, seconds=15)


@pytest.mark.parametrize(
    ("step", "victim"),
    [
        pytest.param("incoming-sidecar", "target", marks=pytest.mark.full),
        ("moved-sidecar", "source"),
        pytest.param("activate-on-record", "admin", marks=pytest.mark.full),
    ],
)
async def test_a_move_ends_completed_when_a_server_dies_amid_it(
    broken_local: MeshProcess, tmp_path: Path, step: str, victim: str
) -> None:
    """All steps and victims: `test_killed_steps.py`."""
    async with (
        Caller(broken_local.file) as caller,
        Client.connect(mesh_file=broken_local.mesh_file, state_folder=tmp_path) as client,
    ):
        moves = Moves(broken_local, client, caller, Stops(broken_local))
        await moves.through_death(step, victim)
