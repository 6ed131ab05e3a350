"""Ingest with real storage elements: one full, one stopped, one frozen; the client sees nothing."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from artstore_client import Client, UploadedFile
from tests.support.caller import Caller
from tests.support.mesh import MeshProcess
from tests.support.outside import Outside
from tests.support.services import S3Process

MIB = 2**20
CONTENT = os.urandom(3 * MIB)
FIRST, NEXT = "se-01", "se-02"


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.full)])
def mesh(
    own_mesh: Callable[..., MeshProcess], request: pytest.FixtureRequest, s3_server: S3Process
) -> MeshProcess:
    """A mesh whose first element is small, and which restarts nothing."""
    store = s3_server.create_bucket().environment() if request.param == "s3" else {}
    return own_mesh(ARTSTORE_RESTART="0", ARTSTORE_SE_01_CAPACITY_BYTES=str(150 * MIB), **store)


def stored(outside: Outside, file_id: str, element: str) -> bytes:
    """SHA-256 of what an element gives back."""
    _, content = outside.download(element, file_id)
    return hashlib.sha256(content).digest()


async def test_uploads_move_to_the_next_element_unseen(mesh: MeshProcess, tmp_path: Path) -> None:
    with Outside(mesh.file) as outside:

        def put(request_id: str = "") -> str:
            file = outside.upload(CONTENT, "a.bin", request_id=request_id)
            expected = hashlib.sha256(CONTENT).digest()
            assert stored(outside, file.file_id, file.storage_element_id) == expected
            return file.storage_element_id

        assert put() == FIRST
        async with Client.connect(mesh_file=mesh.mesh_file, state_folder=tmp_path) as client:
            await _fills_up_in_mid_upload(mesh)
            await _large_one_goes_to_the_next(client, tmp_path)

            first = outside.upload(b"small", "b.bin", request_id="r-1")
            assert first.storage_element_id == FIRST
            again = outside.upload(b"small", "b.bin", request_id="r-1")
            assert again.file_id == first.file_id

            mesh.freeze(FIRST)
            try:
                assert outside.upload(b"small", "c.bin").storage_element_id == NEXT
            finally:
                mesh.thaw(FIRST)
            await _stops_in_mid_upload(mesh, client)
        assert outside.upload(b"small", "d.bin").storage_element_id == NEXT


async def _large_one_goes_to_the_next(client: Client, folder: Path) -> None:
    """A size that does not fit is refused at StartUpload, and ingest asks the next one."""
    source = folder / "large.bin"
    with source.open("wb") as file:
        file.truncate(170 * MIB)
    uploaded = await client.upload(source)
    assert uploaded.file.storage_element_id == NEXT
    source.unlink()


async def _fills_up_in_mid_upload(mesh: MeshProcess) -> None:
    """Of unknown size, it fits at first; what came by then is not kept."""
    async with Caller(mesh.file) as caller:
        used = (await caller.element(FIRST)).used_bytes
        async with caller.upload_to() as upload:
            await upload.header(original_filename="endless.bin")
            with pytest.raises(grpc.aio.AioRpcError) as full:
                await upload.send(bytes(MIB) * 160)
                await upload.finish()
            # The status may be lost while the client still sends.
            assert full.value.code() in {
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                grpc.StatusCode.INTERNAL,
            }
        element = await caller.element(FIRST)
        assert (element.used_bytes, element.reserved_bytes) == (used, 0)


async def _stops_in_mid_upload(mesh: MeshProcess, client: Client) -> None:
    """SIGTERM once half was sent: a source that can be sought is sent again, to the next."""
    told = []

    def stop(sent: int, _: int | None) -> None:
        if not told and sent >= len(CONTENT) // 2:
            told.append(mesh.pid_of(FIRST))
            mesh.signal(FIRST, signal.SIGTERM)

    uploaded: UploadedFile = await client.upload(CONTENT, name="stopped.bin", progress=stop)
    assert told
    # A graceful stop may still take an upload to its end.
    assert uploaded.file.storage_element_id in {FIRST, NEXT}
    assert uploaded.file.sha256 == hashlib.sha256(CONTENT).hexdigest()


async def test_source_that_can_be_sought_is_sent_again_when_the_element_dies(
    mesh: MeshProcess, tmp_path: Path
) -> None:
    told = []

    def kill(sent: int, _: int | None) -> None:
        if not told and sent >= len(CONTENT) // 2:
            told.append(mesh.kill_one(FIRST))

    async with Client.connect(mesh_file=mesh.mesh_file, state_folder=tmp_path) as client:
        uploaded = await client.upload(CONTENT, name="again.bin", progress=kill)
        assert told
        assert uploaded.file.storage_element_id == NEXT
        assert uploaded.file.sha256 == hashlib.sha256(CONTENT).hexdigest()
