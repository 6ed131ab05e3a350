"""A mesh whose first element stands on a file system that fills up, or turns read-only.

Its store is a disk of its own, mounted for the mesh alone, so nothing of it is left behind. The
tests go from what can be taken back to what cannot.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import pytest

from artstore.v1 import elements_pb2, elements_pb2_grpc
from tests.support import mounts
from tests.support.command import Command, make_file
from tests.support.mesh import MeshProcess
from tests.support.outside import Outside, error_info
from tests.support.waiting import wait_until

MEBIBYTE = 2**20
SIZE = 48 * MEBIBYTE
STATED_SIZE = 300 * MEBIBYTE
MORE_SECONDS = 10.0
REASON = "not writable, its file system is read-only"
STORE = "storage_element_01"


@contextmanager
def mesh_on_a_disk() -> Iterator[MeshProcess]:
    """A mesh whose se-01 is on a disk of its own."""
    with tempfile.TemporaryDirectory(prefix="artstore-mesh-") as folder:
        data, image = Path(folder) / "data", Path(folder) / "disk"
        mounts.disk_image(image, 2 * STATED_SIZE)
        (data / STORE).mkdir(parents=True)
        mesh = MeshProcess(
            data,
            environment={"ARTSTORE_WRITE_PROBE_SECONDS": "1"},
            before=mounts.on_disk(image, data / STORE),
        )
        try:
            mesh.start()
            yield mesh
            mesh.stop()
        finally:
            mesh.kill()


@pytest.fixture(scope="module")
def mesh() -> Iterator[MeshProcess]:
    with mesh_on_a_disk() as started:
        yield started


@contextmanager
def read_only(mesh: MeshProcess) -> Iterator[None]:
    """se-01's store refuses writes."""
    with mounts.read_only(mesh.data_dir / STORE, inside=mesh.pid):
        yield


def line_of(mesh: MeshProcess, home: Path, element_id: str) -> str:
    """What `artstore elements` says of one element."""
    out, _ = Command(mesh, home, "elements").process.communicate(timeout=30)
    (line,) = [line for line in out.decode().splitlines() if line.split()[:1] == [element_id]]
    return line


def put(mesh: MeshProcess, home: Path, path: Path) -> tuple[str, float]:
    """Where `artstore put` left a file, and after how many seconds."""
    started = time.monotonic()
    found = Command(mesh, home, "put", "--json", str(path)).result()
    return found["storage_element_id"], time.monotonic() - started


def test_uploads_pass_over_it_until_it_writes_again(mesh: MeshProcess, tmp_path: Path) -> None:
    big = tmp_path / "big"
    make_file(big, SIZE, seed=1)
    element, usual = put(mesh, tmp_path, big)
    assert element == "se-01"
    with Outside(mesh.file) as outside:
        before = outside.upload(b"stored before", "before.txt")
        with read_only(mesh):
            # At once, before its own proof: whatever meets it first.
            element, seconds = put(mesh, tmp_path, big)
            assert element == "se-02"
            assert seconds < usual + MORE_SECONDS
            pipe = Command(
                mesh, tmp_path, "put", "--json", "--name", "p", "-", stdin=subprocess.PIPE
            )
            out, err = pipe.process.communicate(b"x" * 3 * MEBIBYTE, timeout=60)
            assert pipe.process.returncode == 0, err
            assert b'"se-02"' in out
            assert outside.upload(b"x", "x").storage_element_id == "se-02"

            assert REASON in line_of(mesh, tmp_path, "se-01")
            assert "not writable" not in line_of(mesh, tmp_path, "se-02")
            wait_until(lambda: not registered(outside).writable, 5, "admin is told")
            assert registered(outside).unwritable_reason == "its file system is read-only"

            assert outside.download("se-01", before.file_id)[1] == b"stored before"
            with pytest.raises(grpc.RpcError) as caught:
                outside.update("se-01", before.file_id, paths=["description"], description="new")
            assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            assert error_info(caught.value).reason == "STORE_READ_ONLY"
            with pytest.raises(grpc.RpcError) as caught:
                outside.upload_to("se-01", b"x", "x")
            assert error_info(caught.value).reason == "STORE_READ_ONLY"
        wait_until(
            lambda: outside.upload(b"y", "y").storage_element_id == "se-01",
            10,
            "it takes uploads again",
        )
        answer = outside.update("se-01", before.file_id, paths=["description"], description="new")
        assert answer.file.revision == 2


def registered(outside: Outside) -> elements_pb2.StorageElement:
    """se-01 as admin knows it."""
    stub = elements_pb2_grpc.StorageElementServiceStub(
        outside.channel(outside.file.endpoints["admin"])
    )
    answer = stub.ListStorageElements(elements_pb2.ListStorageElementsRequest(), **outside.auth)
    (found,) = [e for e in answer.elements if e.storage_element_id == "se-01"]
    return found


def fill(mesh: MeshProcess) -> Path:
    """Leave no room in se-01's store; answers what takes it."""
    root = Path(f"/proc/{mesh.pid}/root{mesh.data_dir / STORE}")
    ballast = root / ".ballast"
    with ballast.open("ab") as file:
        for piece in (MEBIBYTE, 4096):
            with suppress(OSError):
                while True:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, piece)
    return ballast


def test_a_disk_that_fills_up_under_uploads_is_left_until_there_is_room(
    mesh: MeshProcess, tmp_path: Path
) -> None:
    big = tmp_path / "big"
    digest = make_file(big, SIZE, seed=3)
    element, usual = put(mesh, tmp_path, big)
    assert element == "se-01"
    pipe = Command(mesh, tmp_path, "put", "--name", "p", "-", stdin=subprocess.PIPE).process
    assert pipe.stdin is not None
    pipe.stdin.write(b"x" * 4 * MEBIBYTE)
    pipe.stdin.flush()
    started = time.monotonic()
    upload = Command(mesh, tmp_path, "put", "--json", str(big))
    assert upload.wait_until_at(big, SIZE // 3) < SIZE
    ballast = fill(mesh)
    try:
        found = upload.result()
        assert found["storage_element_id"] == "se-02"
        assert found["sha256"] == digest
        assert time.monotonic() - started < usual + MORE_SECONDS
        # What the upload had taken is free again.
        fill(mesh)
        _, err = pipe.communicate(b"x" * 4 * MEBIBYTE, timeout=30)
        assert pipe.returncode == 1
        assert b"STORAGE_FULL" in err
        assert b"put it into a file first" in err
        fill(mesh)
        wait_until(
            lambda: "no space is left" in line_of(mesh, tmp_path, "se-01"), 10, "it says why"
        )
        assert put(mesh, tmp_path, big)[0] == "se-02"
    finally:
        ballast.unlink()
    with Outside(mesh.file) as outside:
        wait_until(
            lambda: outside.upload(b"y", "y").storage_element_id == "se-01",
            10,
            "it takes uploads again",
        )


def test_a_disk_that_breaks_under_uploads_is_left(mesh: MeshProcess, tmp_path: Path) -> None:
    break_under_uploads(mesh, tmp_path, SIZE)


@pytest.mark.full
@pytest.mark.timeout(180)
def test_a_disk_that_breaks_under_an_upload_of_the_stated_size_is_left(tmp_path: Path) -> None:
    with mesh_on_a_disk() as mesh:
        break_under_uploads(mesh, tmp_path, STATED_SIZE)


def break_under_uploads(mesh: MeshProcess, home: Path, size: int) -> None:
    """In mid-upload a file ends on se-02 all the same; standard input ends at once."""
    big = home / "big"
    digest = make_file(big, size, seed=2)
    element, usual = put(mesh, home, big)
    assert element == "se-01"

    pipe = Command(mesh, home, "put", "--name", "p", "-", stdin=subprocess.PIPE).process
    assert pipe.stdin is not None
    pipe.stdin.write(b"x" * 4 * MEBIBYTE)
    pipe.stdin.flush()
    started = time.monotonic()
    upload = Command(mesh, home, "put", "--json", str(big))
    assert upload.wait_until_at(big, size // 3) < size
    mounts.break_disk(mesh.data_dir / STORE, inside=mesh.pid)
    found = upload.result()
    assert found["storage_element_id"] == "se-02"
    assert found["sha256"] == digest
    assert time.monotonic() - started < usual + MORE_SECONDS

    _, err = pipe.communicate(b"x" * 4 * MEBIBYTE, timeout=30)
    assert pipe.returncode == 1
    assert b"STORE_READ_ONLY" in err
    assert b"put it into a file first" in err
    assert REASON in line_of(mesh, home, "se-01")
    with Outside(mesh.file) as outside:
        # Admin's list may be of up to five seconds ago.
        wait_until(lambda: registered(outside).reserved_bytes == 0, 10, "no upload is open on it")
        assert outside.list("se-01").files
