"""Sources that are not what their size says, change while they are read, or never say anything."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import artstore_client
from tests.contract.client.fake_mesh import FakeMesh

KIB = 1024
# Above and below what goes in one stream.
SIZES = [1500 * KIB, 100 * KIB]
SYSFS = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.parametrize("path", [Path("/proc/filesystems"), SYSFS])
async def test_file_whose_size_says_nothing_is_stored_whole(fake: FakeMesh, path: Path) -> None:
    content = await asyncio.to_thread(path.read_bytes)
    assert await asyncio.to_thread(lambda: path.stat().st_size) != len(content)
    async with fake.client() as client:
        by_path = await client.upload(path)
        with path.open("rb") as buffered:
            as_object = await client.upload(buffered)
        with path.open("rb", buffering=0) as raw:
            raw.read(3)
            rest = await client.upload(raw)
    assert by_path.file.original_filename == path.name
    stored = [fake.element.files[one.file_id][1] for one in (by_path, as_object, rest)]
    assert stored == [content, content, content[3:]]


@pytest.mark.parametrize("buffering", [0, 8192])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("how", ["rewritten", "grown", "cut"])
async def test_file_object_that_changes_during_its_upload_is_refused(
    fake: FakeMesh, tmp_path: Path, size: int, buffering: int, how: str
) -> None:
    path = tmp_path / "log"
    path.write_bytes(os.urandom(size))

    def change(*_: object) -> None:
        with path.open("r+b") as file:
            if how == "rewritten":
                file.write(os.urandom(size))
            elif how == "grown":
                file.seek(0, io.SEEK_END)
                file.write(b"more")
            else:
                file.truncate(size - 1)

    with path.open("rb", buffering=buffering) as source:
        async with fake.client() as client:
            with pytest.raises(artstore_client.SourceChanged):
                await client.upload(source, progress=change)
    assert fake.element.files == {}


async def test_part_of_a_file_object_is_taken_as_before(fake: FakeMesh, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    with path.open("rb") as source:
        source.seek(4)
        async with fake.client() as client:
            uploaded = await client.upload(source)
    assert fake.element.files[uploaded.file_id][1] == b"456789"


@pytest.mark.parametrize("kind", ["pipe", "fifo", "iterator"])
async def test_upload_of_a_silent_source_ends_when_it_is_cancelled(
    fake: FakeMesh, tmp_path: Path, kind: str
) -> None:
    fifo, silent = tmp_path / "fifo", asyncio.Event()
    os.mkfifo(fifo)
    reading, writing = os.pipe()
    loop = asyncio.get_running_loop()
    threads = ThreadPoolExecutor(4)
    loop.set_default_executor(threads)

    def never() -> Iterator[bytes]:
        loop.call_soon_threadsafe(silent.set)
        os.read(reading, 1)
        yield b""

    with os.fdopen(reading, "rb") as pipe, os.fdopen(writing, "wb"):
        sources: dict[str, Any] = {"pipe": pipe, "fifo": fifo, "iterator": never()}
        source = sources[kind]
        async with fake.client() as client:
            uploading = asyncio.ensure_future(client.upload(source, name="x"))
            if kind == "iterator":
                await silent.wait()
            else:
                await asyncio.wait([uploading], timeout=0.2)
            uploading.cancel()
            await asyncio.wait([uploading], timeout=5)
            assert uploading.cancelled()
            # No thread of the loop is left behind in the read, so that the loop can end.
            loop.set_default_executor(ThreadPoolExecutor())
            await asyncio.wait_for(asyncio.to_thread(threads.shutdown), 5)


async def test_fifo_is_read_when_somebody_writes_to_it(fake: FakeMesh, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    async with fake.client() as client:
        uploaded, _ = await asyncio.gather(
            client.upload(fifo), asyncio.to_thread(fifo.write_bytes, b"in the end")
        )
    assert fake.element.files[uploaded.file_id][1] == b"in the end"


async def test_pipe_that_others_made_non_blocking_is_read_to_its_end(fake: FakeMesh) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with os.fdopen(reading, "rb") as pipe, os.fdopen(writing, "wb", buffering=0) as writer:

        async def write() -> None:
            for part in (b"one ", b"two ", b"three"):
                await asyncio.sleep(0.05)
                writer.write(part)
            writer.close()

        async with fake.client() as client:
            uploaded, _ = await asyncio.gather(client.upload(pipe, name="x"), write())
    assert fake.element.files[uploaded.file_id][1] == b"one two three"


@pytest.mark.parametrize(
    "said", [{"name": "\udcff"}, {"tags": ["\udcff"]}, {"attributes": {"\udcff": ""}}]
)
async def test_bytes_that_are_no_text_are_an_invalid_argument(
    fake: FakeMesh, said: dict[str, Any]
) -> None:
    async with fake.client() as client:
        with pytest.raises(artstore_client.InvalidArgument, match="UTF-8"):
            await client.upload(b"x", **({"name": "x"} | said))
