"""Uploads and downloads whose client or servers are killed on the way."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from artstore_client import Client
from tests.faults.command import Command
from tests.mesh_fixture import running_mesh
from tests.mesh_process import MeshProcess, alive

MIB = 1024 * 1024
Connect = Callable[..., Client]


class KillsAt:
    """Progress callback that kills a server once, when so many bytes have passed."""

    def __init__(self, mesh: MeshProcess, name: str, position: int) -> None:
        self._mesh = mesh
        self._name = name
        self._position = position
        self.killed = 0

    def __call__(self, done: int, total: int | None) -> None:
        if not self.killed and done >= self._position and alive([self._mesh.pid_of(self._name)]):
            self.killed = self._mesh.kill_one(self._name)


@pytest.fixture(scope="module")
def big_data() -> bytes:
    return os.urandom(96 * MIB)


@pytest.fixture(scope="module")
def breakable() -> Iterator[MeshProcess]:
    """A mesh whose servers these tests kill and freeze, and leave running."""
    with running_mesh({}, quiet=False) as mesh:
        yield mesh


async def test_upload_and_download_survive_the_kill_of_the_element(
    breakable: MeshProcess, connect: Connect, tmp_path: Path, big_data: bytes
) -> None:
    source, target = tmp_path / "big", tmp_path / "got"
    await asyncio.to_thread(source.write_bytes, big_data)
    async with connect(breakable) as client:
        up = KillsAt(breakable, "se-01", random.randrange(len(big_data)))
        uploaded = await client.upload(source, progress=up)
        assert up.killed
        await asyncio.to_thread(breakable.wait_restarted, "se-01", up.killed)
        down = KillsAt(breakable, "se-01", random.randrange(len(big_data)))
        result = await client.download(uploaded.file_id, target, progress=down)
        assert down.killed
        await asyncio.to_thread(breakable.wait_restarted, "se-01", down.killed)
        listed = [file.file_id async for file in client.list_files("se-01")]
    assert result.verified
    assert listed.count(uploaded.file_id) == 1
    assert await asyncio.to_thread(target.read_bytes) == big_data


async def test_upload_through_ingest_survives_the_kill_of_ingest(
    breakable: MeshProcess, connect: Connect, tmp_path: Path, big_data: bytes
) -> None:
    source = tmp_path / "big"
    await asyncio.to_thread(source.write_bytes, big_data)
    out_of_reach = dict.fromkeys(("se-01", "se-02", "se-03"), "localhost:1")
    async with connect(breakable, storage=out_of_reach) as client:
        up = KillsAt(breakable, "ingest", random.randrange(len(big_data)))
        uploaded = await client.upload(source, progress=up)
    assert up.killed
    await asyncio.to_thread(breakable.wait_restarted, "ingest", up.killed)
    assert uploaded.file.sha256 == hashlib.sha256(big_data).hexdigest()


async def test_put_killed_at_a_random_byte_resumes_when_repeated(
    mesh_local: MeshProcess, tmp_path: Path, big_data: bytes
) -> None:
    source = tmp_path / "big.iso"
    await asyncio.to_thread(source.write_bytes, big_data)

    def put() -> Command:
        return Command(mesh_local, tmp_path / "cache", "put", str(source), "--json")

    for lowest in (5, 35, 65):
        byte = random.randrange(lowest * MIB, (lowest + 20) * MIB)
        # Fails when the command was quicker than the kill.
        await asyncio.to_thread(put().kill_at, source, byte)
    document = await asyncio.to_thread(put().result)
    assert document["size_bytes"] == len(big_data)
    async with Client.connect(mesh_file=mesh_local.mesh_file) as client:
        target = tmp_path / "got"
        assert (await client.download(document["file_id"], target)).verified
    assert await asyncio.to_thread(target.read_bytes) == big_data


async def test_frozen_element_costs_the_others_nothing(
    breakable: MeshProcess, connect: Connect
) -> None:
    async with connect(breakable, call_timeout_seconds=3.0) as client:
        uploaded = await client.upload(b"x", name="a", permanent=True)
        breakable.freeze("se-02")
        try:
            assert (await client.stat(uploaded.file_id)).storage_element_id == "se-03"
            reports = await client.elements()
        finally:
            breakable.thaw("se-02")
    assert [report.error is None for report in reports] == [True, False, True]
