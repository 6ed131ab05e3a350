"""What is where a download goes: nothing, a file, a link, a device, another download."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import artstore_client
from artstore.v1 import uploads_pb2
from artstore_client import SyncClient
from mesh import errors
from tests.contract.client.fake_mesh import FakeMesh, Fault

KIB = 1024
DATA = os.urandom(900 * KIB + 5)


@pytest.fixture
def file_id(fake: FakeMesh) -> str:
    header = uploads_pb2.UploadHeader(original_filename="a.bin")
    return fake.element.store(header, DATA).file_id


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "to"
    folder.mkdir()
    return folder


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def get(fake: FakeMesh, file_id: str, target: Path, **options: bool) -> None:
    async with fake.client() as client:
        result = await client.download(file_id, target, **options)
        assert result.verified
        assert result.path == target


@pytest.mark.parametrize("kind", ["file", "dangling link", "fifo"])
async def test_what_is_there_is_refused_before_anything_is_asked_for(
    fake: FakeMesh, file_id: str, folder: Path, kind: str
) -> None:
    target = folder / "there"
    if kind == "file":
        target.write_bytes(b"mine")
    elif kind == "fifo":
        os.mkfifo(target)
    else:
        target.symlink_to(folder / "nowhere")
    async with fake.client() as client:
        with pytest.raises(FileExistsError, match="there"):
            await client.download(file_id, target)
    assert fake.element.calls == []
    assert names_in(folder) == ["there"]


async def test_client_for_scripts_refuses_to_overwrite_too(
    fake: FakeMesh, file_id: str, folder: Path
) -> None:
    target = folder / "there"
    target.write_bytes(b"mine")

    def script() -> None:
        with SyncClient.connect(
            admin=fake.endpoint,
            storage={"se-01": fake.endpoint},
            client_id="tester",
            client_secret="secret",
        ) as client:
            with pytest.raises(FileExistsError):
                client.download(file_id, target)
            client.download(file_id, target, overwrite=True)

    await asyncio.to_thread(script)
    assert target.read_bytes() == DATA


async def test_file_that_is_replaced_keeps_mode_owner_and_attributes(
    fake: FakeMesh, file_id: str, folder: Path
) -> None:
    target = folder / "there"
    target.write_bytes(b"mine")
    target.chmod(0o640)
    os.chown(target, 12345, 23456)
    os.setxattr(target, "user.note", b"keep me")
    await get(fake, file_id, target, overwrite=True)
    found = target.stat()
    assert target.read_bytes() == DATA
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o640, 12345, 23456)
    assert os.getxattr(target, "user.note") == b"keep me"
    assert names_in(folder) == ["there"]


@pytest.mark.parametrize("old_size", [4, 2 * len(DATA)])
async def test_file_with_another_name_stays_one_file(
    fake: FakeMesh, file_id: str, folder: Path, old_size: int
) -> None:
    target, other = folder / "there", folder / "other"
    target.write_bytes(bytes(old_size))
    other.hardlink_to(target)
    await get(fake, file_id, target, overwrite=True)
    assert other.read_bytes() == DATA
    assert other.samefile(target)
    assert names_in(folder) == ["other", "there"]


@pytest.fixture
def mount_point(folder: Path, tmp_path: Path) -> Iterator[Path]:
    """A file that is mounted over another, as in a container; the folder can't replace it."""
    target, behind = folder / "there", tmp_path / "behind"
    target.touch()
    behind.write_bytes(b"mine")
    subprocess.run(["mount", "--bind", behind, target], check=True)
    yield target
    subprocess.run(["umount", "--lazy", target], check=True)


async def test_file_that_is_a_mount_point_is_written_in_place(
    fake: FakeMesh, file_id: str, folder: Path, mount_point: Path, tmp_path: Path
) -> None:
    await get(fake, file_id, mount_point, overwrite=True)
    assert (tmp_path / "behind").read_bytes() == DATA
    assert names_in(folder) == ["there"]


async def test_link_is_followed_and_stays(fake: FakeMesh, file_id: str, folder: Path) -> None:
    (folder / "deep").mkdir()
    behind, second = folder / "deep" / "real", folder / "second"
    behind.write_bytes(b"mine")
    second.symlink_to("deep/real")
    target = folder / "link"
    target.symlink_to("second")
    await get(fake, file_id, target, overwrite=True)
    assert behind.read_bytes() == DATA
    assert target.is_symlink()
    assert names_in(folder / "deep") == ["real"]


async def test_link_that_leads_nowhere_gets_the_file_it_names(
    fake: FakeMesh, file_id: str, folder: Path
) -> None:
    target = folder / "link"
    target.symlink_to(folder / "to be made")
    await get(fake, file_id, target, overwrite=True)
    assert (folder / "to be made").read_bytes() == DATA
    assert target.is_symlink()


async def test_loop_of_links_is_an_error_that_names_it(
    fake: FakeMesh, file_id: str, folder: Path
) -> None:
    target = folder / "loop"
    target.symlink_to(target)
    async with fake.client() as client:
        with pytest.raises(OSError, match="loop"):
            await client.download(file_id, target, overwrite=True)
    assert target.is_symlink()


async def test_fifo_is_written_to(fake: FakeMesh, file_id: str, folder: Path) -> None:
    target = folder / "fifo"
    os.mkfifo(target)
    read, _ = await asyncio.gather(
        asyncio.to_thread(target.read_bytes), get(fake, file_id, target, overwrite=True)
    )
    assert read == DATA
    assert target.is_fifo()


@pytest.mark.parametrize("reader", [False, True])
async def test_download_to_a_fifo_that_nobody_reads_ends_when_it_is_cancelled(
    fake: FakeMesh, file_id: str, folder: Path, reader: bool
) -> None:
    target = folder / "fifo"
    os.mkfifo(target)
    opened = os.open(target, os.O_RDONLY | os.O_NONBLOCK) if reader else -1
    downloading = asyncio.ensure_future(get(fake, file_id, target, overwrite=True))
    await asyncio.wait([downloading], timeout=0.3)
    downloading.cancel()
    await asyncio.wait([downloading], timeout=5)
    assert downloading.cancelled()
    if reader:
        os.close(opened)


async def test_device_stays_a_device(fake: FakeMesh, file_id: str, folder: Path) -> None:
    target = folder / "null"
    os.mknod(target, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    await get(fake, file_id, target, overwrite=True)
    assert stat.S_ISCHR(target.stat().st_mode)
    assert names_in(folder) == ["null"]


async def test_full_device_is_an_error_that_names_it(fake: FakeMesh, file_id: str) -> None:
    async with fake.client() as client:
        with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
            await client.download(file_id, "/dev/full", overwrite=True)


async def test_descriptor_gets_the_bytes_from_where_it_stands(
    fake: FakeMesh, file_id: str, folder: Path
) -> None:
    target = folder / "log"
    with target.open("wb", buffering=0) as file:
        file.write(b"before ")
        await get(fake, file_id, Path(f"/dev/fd/{file.fileno()}"), overwrite=True)
        file.write(b" after")
    assert target.read_bytes() == b"before " + DATA + b" after"


async def test_socket_is_refused_in_words(
    fake: FakeMesh, file_id: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    target = folder / "socket"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        async with fake.client() as client:
            with pytest.raises(OSError, match="is a socket"):
                await client.download(file_id, target, overwrite=True)
    assert target.is_socket()


async def test_two_downloads_of_one_file_into_one_folder_work(
    fake: FakeMesh, file_id: str, folder: Path
) -> None:
    same = [folder / "got"] * 2
    await asyncio.gather(*(get(fake, file_id, target) for target in (*same, folder / "other")))
    assert (folder / "got").read_bytes() == (folder / "other").read_bytes() == DATA
    assert names_in(folder) == ["got", "other"]


async def test_other_file_that_came_meanwhile_is_not_overwritten(
    fake: FakeMesh, file_id: str, folder: Path
) -> None:
    target = folder / "got"

    def appears(*_: object) -> None:
        target.write_bytes(b"mine")

    async with fake.client() as client:
        with pytest.raises(FileExistsError):
            await client.download(file_id, target, progress=appears)
    assert target.read_bytes() == b"mine"


@pytest.mark.parametrize("planted", ["link", "second name", "fifo", "folder", "of another"])
async def test_part_that_is_not_ours_is_left_alone(
    fake: FakeMesh, file_id: str, folder: Path, tmp_path: Path, planted: str
) -> None:
    part, precious = folder / f".{file_id}.part", tmp_path / "precious"
    precious.write_bytes(b"precious")
    if planted == "link":
        part.symlink_to(precious)
    elif planted == "second name":
        part.hardlink_to(precious)
    elif planted == "fifo":
        os.mkfifo(part)
    elif planted == "folder":
        part.mkdir()
    else:
        part.write_bytes(b"")
        os.chown(part, 12345, 12345)
    await asyncio.wait_for(get(fake, file_id, folder / "got"), 10)
    assert (folder / "got").read_bytes() == DATA
    assert precious.read_bytes() == b"precious"
    assert names_in(folder) == [part.name, "got"]


@contextmanager
def most_bytes_of_a_file(size: int) -> Iterator[None]:
    """A disk that is full for files beyond `size`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_full_disk_is_told_with_the_name_and_what_can_be_resumed(
    fake: FakeMesh, file_id: str, folder: Path
) -> None:
    target = folder / "got"
    async with fake.client() as client:
        with most_bytes_of_a_file(300 * KIB), pytest.raises(OSError, match="kept") as caught:
            await client.download(file_id, target)
        assert caught.value.filename == str(target)
        assert (folder / f".{file_id}.part").stat().st_size == 300 * KIB
        result = await client.download(file_id, target)
    assert result.size_bytes == len(DATA) - 300 * KIB
    assert target.read_bytes() == DATA


async def test_full_disk_leaves_nothing_of_a_range(
    fake: FakeMesh, file_id: str, folder: Path
) -> None:
    async with fake.client() as client:
        with most_bytes_of_a_file(300 * KIB), pytest.raises(OSError, match="got"):
            await client.download(file_id, folder / "got", offset=1)
    assert names_in(folder) == []


async def test_full_disk_does_not_tear_a_file_with_other_names(
    fake: FakeMesh, file_id: str, folder: Path
) -> None:
    target, other = folder / "there", folder / "other"
    target.write_bytes(b"mine")
    other.hardlink_to(target)
    part = folder / f".{file_id}.part"
    part.write_bytes(DATA)
    async with fake.client() as client:
        with most_bytes_of_a_file(300 * KIB), pytest.raises(OSError, match="there"):
            await client.download(file_id, target, overwrite=True)
    assert other.read_bytes() == b"mine"
    assert part.read_bytes() == DATA


async def test_failed_download_leaves_no_empty_part(
    fake: FakeMesh, file_id: str, folder: Path
) -> None:
    fake.element.read_faults = [Fault(0, errors.FailedPrecondition("mode ar"))]
    async with fake.client() as client:
        with pytest.raises(artstore_client.FailedPrecondition):
            await client.download(file_id, folder / "got")
    assert names_in(folder) == []
