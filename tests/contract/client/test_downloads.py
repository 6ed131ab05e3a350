"""Downloads against a server that breaks, lies and stalls."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
from contextlib import aclosing
from pathlib import Path

import pytest

import artstore_client
from artstore.v1 import uploads_pb2
from mesh import errors
from tests.contract.client.fake_mesh import FakeMesh, Fault

KIB = 1024
DATA = os.urandom(900 * KIB + 5)


@pytest.fixture
def file_id(fake: FakeMesh) -> str:
    header = uploads_pb2.UploadHeader(original_filename="a.bin")
    return fake.element.store(header, DATA).file_id


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_path_gets_the_whole_file_by_rename(
    fake: FakeMesh, file_id: str, tmp_path: Path
) -> None:
    target = tmp_path / "got.bin"
    async with fake.client() as client:
        result = await client.download(file_id, target)
    assert target.read_bytes() == DATA
    assert (result.verified, result.size_bytes, result.path) == (True, len(DATA), target)
    assert names_in(tmp_path) == ["got.bin"]


async def test_file_object_gets_a_range(fake: FakeMesh, file_id: str) -> None:
    target = io.BytesIO()
    async with fake.client() as client:
        result = await client.download(file_id, target, offset=1000, length=200_000)
    assert target.getvalue() == DATA[1000:201_000]
    assert not result.verified


async def test_generator_gives_the_bytes(fake: FakeMesh, file_id: str) -> None:
    async with fake.client() as client:
        got = b"".join([block async for block in client.download(file_id)])
    assert got == DATA


@pytest.mark.parametrize(("offset", "length"), [(len(DATA), 0), (len(DATA), 5), (7, len(DATA))])
async def test_range_ends_where_the_file_ends(
    fake: FakeMesh, file_id: str, offset: int, length: int
) -> None:
    target = io.BytesIO()
    async with fake.client() as client:
        await client.download(file_id, target, offset=offset, length=length)
    assert target.getvalue() == DATA[offset : offset + length if length else None]


async def test_offset_beyond_the_end_is_out_of_range(fake: FakeMesh, file_id: str) -> None:
    async with fake.client() as client:
        with pytest.raises(artstore_client.OutOfRange):
            await client.download(file_id, io.BytesIO(), offset=len(DATA) + 1)


async def test_broken_stream_goes_on_at_the_byte_it_reached(fake: FakeMesh, file_id: str) -> None:
    fake.element.read_faults = [Fault(200 * KIB, errors.Unavailable("restarting"))]
    target = io.BytesIO()
    async with fake.client() as client:
        result = await client.download(file_id, target)
    assert target.getvalue() == DATA
    assert result.verified
    assert fake.element.first_offsets[1] > 0


async def test_reader_who_paused_for_longer_than_a_server_waits_goes_on(
    fake: FakeMesh, file_id: str
) -> None:
    waited = errors.ResourceExhausted("not taken", reason="STUCK_WRITE", retry_after_seconds=1.0)
    fake.element.read_faults = [Fault(1, waited)]
    got = b""
    async with fake.client(retry_for_seconds=0.3) as client:
        async for block in client.download(file_id):
            if not got:
                await asyncio.sleep(0.5)
            got += block
    assert got == DATA
    assert fake.element.first_offsets[1] > 0


async def test_silent_stream_is_left_after_the_idle_timeout(fake: FakeMesh, file_id: str) -> None:
    fake.element.read_faults = [Fault(200 * KIB, None)]
    target = io.BytesIO()
    async with fake.client(idle_timeout_seconds=0.3) as client:
        await client.download(file_id, target)
    assert target.getvalue() == DATA


async def test_part_of_an_earlier_process_is_taken_up(
    fake: FakeMesh, file_id: str, tmp_path: Path
) -> None:
    fake.element.read_faults = [Fault(400 * KIB, errors.FailedPrecondition("mode ar"))]
    target = tmp_path / "got.bin"
    async with fake.client() as client:
        with pytest.raises(artstore_client.FailedPrecondition):
            await client.download(file_id, target)
        result = await client.download(file_id, target)
    assert target.read_bytes() == DATA
    assert fake.element.first_offsets[1] == len(DATA) - result.size_bytes > 0
    assert result.verified


async def test_damaged_part_of_an_earlier_process_is_thrown_away(
    fake: FakeMesh, file_id: str, tmp_path: Path
) -> None:
    target = tmp_path / "got.bin"
    (tmp_path / f".{file_id}.part").write_bytes(bytes(5000))
    async with fake.client() as client:
        result = await client.download(file_id, target)
    assert target.read_bytes() == DATA
    assert result.verified
    assert names_in(tmp_path) == ["got.bin"]


async def test_failed_range_leaves_nothing_that_a_whole_download_could_take_up(
    fake: FakeMesh, file_id: str, tmp_path: Path
) -> None:
    fake.element.read_faults = [Fault(100 * KIB, errors.FailedPrecondition("mode ar"))]
    async with fake.client() as client:
        with pytest.raises(artstore_client.FailedPrecondition):
            await client.download(file_id, tmp_path / "part.bin", offset=5, length=300 * KIB)
    assert names_in(tmp_path) == []


async def test_error_of_the_target_reaches_the_caller(fake: FakeMesh, file_id: str) -> None:
    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(28, "no space left")

    async with fake.client() as client:
        with pytest.raises(OSError, match="no space left"):
            await client.download(file_id, Full())


async def test_bytes_that_changed_in_the_store_are_data_loss_and_leave_no_file(
    fake: FakeMesh, file_id: str, tmp_path: Path
) -> None:
    file, _ = fake.element.files[file_id]
    fake.element.files[file_id] = (file, bytes(reversed(DATA)))
    async with fake.client() as client:
        with pytest.raises(artstore_client.DataLoss, match="have changed") as caught:
            await client.download(file_id, tmp_path / "got.bin")
    assert caught.value.reason == "FILE_CHECKSUM"
    assert names_in(tmp_path) == []


async def test_missing_file_is_not_found_and_says_who_was_asked(fake: FakeMesh) -> None:
    async with fake.client() as client:
        with pytest.raises(artstore_client.NotFound, match="se-01"):
            await client.download("0199aaaa-0000-7000-8000-000000000000", io.BytesIO())


async def test_file_is_not_called_missing_while_an_element_is_silent(
    fake: FakeMesh, file_id: str
) -> None:
    elements = {"se-01": fake.endpoint, "se-02": "localhost:1"}
    async with fake.client(storage=elements) as client:
        assert (await client.stat(file_id)).file_id == file_id
        with pytest.raises(artstore_client.Unavailable, match="se-02"):
            await client.stat("0199aaaa-0000-7000-8000-000000000000")


async def test_leaving_the_loop_ends_the_stream_on_the_server(fake: FakeMesh, file_id: str) -> None:
    async with fake.client() as client:
        async with aclosing(client.download(file_id)) as blocks:
            async for _ in blocks:
                break
        assert (await client.stat(file_id)).sha256 == hashlib.sha256(DATA).hexdigest()


async def test_list_goes_over_all_pages(fake: FakeMesh) -> None:
    for number in range(25):
        fake.element.store(uploads_pb2.UploadHeader(original_filename=f"{number}"), b"")
    async with fake.client() as client:
        names = [file.original_filename async for file in client.list_files(page_size=10)]
    assert names == [f"{number}" for number in range(25)]


async def test_list_that_lacks_an_element_gives_the_others_and_says_so(
    fake: FakeMesh, file_id: str
) -> None:
    elements = {"se-00": "localhost:1", "se-01": fake.endpoint}
    seen = []
    async with fake.client(storage=elements) as client:
        with pytest.raises(artstore_client.Unavailable) as caught:
            async for file in client.list_files():
                seen.append(file.file_id)  # noqa: PERF401 - what came before the error counts
    assert seen == [file_id]
    assert caught.value.metadata == {"storage_element_ids": "se-00"}


async def test_elements_reports_each_even_one_that_is_down(fake: FakeMesh) -> None:
    elements = {"se-01": fake.endpoint, "se-02": "localhost:1"}
    async with fake.client(storage=elements) as client:
        first, second = await client.elements()
    assert first.element is not None
    assert isinstance(second.error, artstore_client.Unavailable)
