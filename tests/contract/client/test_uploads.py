"""Uploads against a server that breaks, refuses and stalls."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import resource
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import artstore_client
from artstore_client import Client
from mesh import errors
from tests.contract.client.fake_mesh import FakeMesh, Fault

KIB = 1024
BIG = os.urandom(3 * 1024 * KIB + 17)
SMALL = os.urandom(200 * KIB + 3)


@pytest.fixture
def big_file(tmp_path: Path) -> Path:
    path = tmp_path / "big.bin"
    path.write_bytes(BIG)
    return path


async def test_small_source_goes_in_one_stream_with_its_digest(fake: FakeMesh) -> None:
    async with fake.client() as client:
        uploaded = await client.upload(SMALL, name="отчёт 🎉.pdf", tags=["a"])
    assert fake.element.files[uploaded.file_id][1] == SMALL
    assert fake.element.calls == []
    header = fake.ingest.headers[0]
    assert header.original_filename == "отчёт 🎉.pdf"
    assert header.content_type == "application/pdf"
    assert header.request_id
    assert uploaded.change_token == "changed"


async def test_empty_source_is_a_file(fake: FakeMesh) -> None:
    async with fake.client() as client:
        uploaded = await client.upload(b"", name="empty")
    assert uploaded.file.size_bytes == 0


@pytest.mark.parametrize("kind", ["path", "file", "bytes", "iterator", "async iterator", "pipe"])
async def test_every_kind_of_source_arrives_whole(
    fake: FakeMesh, big_file: Path, kind: str
) -> None:
    def parts() -> Iterator[bytes]:
        yield from (BIG[start : start + 100_001] for start in range(0, len(BIG), 100_001))

    async def async_parts() -> AsyncIterator[bytes]:
        for part in parts():
            yield part

    async with fake.client() as client:
        if kind == "pipe":
            reading, writing = os.pipe()
            feed = asyncio.to_thread(lambda: _write_and_close(writing, BIG))
            with os.fdopen(reading, "rb") as pipe:
                uploaded, _ = await asyncio.gather(client.upload(pipe, name="x"), feed)
        else:
            source = {
                "path": big_file,
                "file": io.BytesIO(BIG),
                "bytes": BIG,
                "iterator": parts(),
                "async iterator": async_parts(),
            }[kind]
            uploaded = await client.upload(source, name="x")
    assert fake.element.files[uploaded.file_id][1] == BIG


def _write_and_close(descriptor: int, data: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


async def test_file_object_is_read_from_where_it_stands(fake: FakeMesh) -> None:
    source = io.BytesIO(SMALL)
    source.seek(1000)
    async with fake.client() as client:
        uploaded = await client.upload(source, name="x")
    assert fake.element.files[uploaded.file_id][1] == SMALL[1000:]


async def test_no_chunk_leaves_before_the_server_accepts(fake: FakeMesh) -> None:
    fake.ingest.accept.clear()
    async with fake.client() as client:
        upload = asyncio.ensure_future(client.upload(SMALL, name="x"))
        await fake.element.until(lambda: bool(fake.ingest.headers))
        done, _ = await asyncio.wait([upload], timeout=0.3)
        fake.ingest.accept.set()
        await upload
    assert not done
    assert fake.ingest.chunks_before_acceptance == 0


async def test_refusal_at_the_header_keeps_its_status_and_its_reason(fake: FakeMesh) -> None:
    error = errors.ResourceExhausted("no room", reason="NO_SPACE", metadata={"free": "1"})
    fake.ingest.faults = [Fault(0, error, before_accepting=True) for _ in range(20)]
    async with fake.client() as client:
        for _ in range(20):
            with pytest.raises(artstore_client.ResourceExhausted) as caught:
                await client.upload(SMALL, name="x")
            assert (caught.value.reason, caught.value.metadata) == ("NO_SPACE", {"free": "1"})
    assert fake.ingest.bytes_received == 0


async def test_unavailable_at_the_header_is_tried_again_with_the_same_request_id(
    fake: FakeMesh,
) -> None:
    fake.ingest.faults = [Fault(0, errors.Unavailable("down"), before_accepting=True)] * 2
    async with fake.client() as client:
        # Nothing was read yet, so even an iterator can be tried again.
        uploaded = await client.upload(iter([SMALL]), name="x")
    assert fake.element.files[uploaded.file_id][1] == SMALL
    assert len({header.request_id for header in fake.ingest.headers}) == 1


async def test_element_that_refuses_after_the_first_chunk_starts_a_seekable_source_again(
    fake: FakeMesh,
) -> None:
    fake.ingest.faults = [Fault(1, errors.ResourceExhausted("full now"))]
    async with fake.client() as client:
        uploaded = await client.upload(SMALL, name="x")
    assert fake.element.files[uploaded.file_id][1] == SMALL
    assert len(fake.ingest.headers) == 2


async def test_iterator_that_was_begun_is_not_sent_twice(fake: FakeMesh) -> None:
    fake.ingest.faults = [Fault(1, errors.Unavailable("gone"))]
    async with fake.client() as client:
        with pytest.raises(artstore_client.Unavailable):
            await client.upload(iter([SMALL]), name="x")
    assert len(fake.ingest.headers) == 1


async def test_error_of_the_source_reaches_the_caller_and_leaves_nothing(fake: FakeMesh) -> None:
    def broken() -> Iterator[bytes]:
        yield SMALL
        raise OSError(5, "the disk is broken")

    async with fake.client() as client:
        with pytest.raises(OSError, match="the disk is broken"):
            await client.upload(broken(), name="x")
    assert fake.element.files == {}


async def test_other_bytes_than_declared_are_data_loss(fake: FakeMesh) -> None:
    error = errors.DataLoss("sha256 differs from what was declared", reason="SHA256")
    fake.ingest.faults = [Fault(1, error)]
    async with fake.client() as client:
        with pytest.raises(artstore_client.DataLoss, match="sha256 differs") as caught:
            await client.upload(SMALL, name="x", sha256="0" * 64)
    assert caught.value.reason == "SHA256"
    assert len(fake.ingest.headers) == 1


async def test_large_source_goes_straight_to_the_element(fake: FakeMesh, big_file: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    async with fake.client() as client:
        uploaded = await client.upload(big_file, progress=lambda *done: seen.append(done))
    assert fake.element.files[uploaded.file_id][1] == BIG
    assert fake.element.calls == ["StartUpload", "GetUpload", "WriteUpload", "CommitUpload"]
    assert seen[-1] == (len(BIG), len(BIG))
    assert list(fake.state_folder.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        errors.Unavailable("restarting"),
        errors.DataLoss("chunk arrived damaged", reason="CHUNK_CHECKSUM"),
        errors.OutOfRange("gap"),
    ],
)
async def test_broken_stream_resumes_where_the_element_is(
    fake: FakeMesh, big_file: Path, error: errors.ArtStoreError
) -> None:
    fake.element.write_faults = [Fault(700 * KIB, error), Fault(900 * KIB, error)]
    async with fake.client() as client:
        uploaded = await client.upload(big_file)
    assert fake.element.files[uploaded.file_id][1] == BIG
    first, second, third = fake.element.first_offsets
    assert first == 0 < second < third
    assert fake.element.bytes_received < len(BIG) + 300 * KIB


async def test_what_an_element_has_lost_before_the_commit_is_sent_again(
    fake: FakeMesh, big_file: Path
) -> None:
    fake.element.losses = [700 * KIB, 0]
    async with fake.client() as client:
        uploaded = await client.upload(big_file)
    assert fake.element.files[uploaded.file_id][1] == BIG
    assert fake.element.first_offsets == [0, 700 * KIB, 0]


async def test_upload_survives_a_server_that_restarts(fake: FakeMesh, big_file: Path) -> None:
    fake.element.write_faults = [Fault(700 * KIB, None)]
    async with fake.client() as client:
        upload = asyncio.ensure_future(client.upload(big_file))
        await fake.element.until(lambda: fake.element.bytes_received >= 700 * KIB)
        await fake.stop()
        await fake.restart()
        uploaded = await upload
    assert fake.element.files[uploaded.file_id][1] == BIG


async def test_element_that_falls_silent_is_left_after_the_idle_timeout(
    fake: FakeMesh, big_file: Path
) -> None:
    fake.element.write_faults = [Fault(700 * KIB, None)]
    async with fake.client(idle_timeout_seconds=0.3, commit_timeout_seconds=0.3) as client:
        uploaded = await client.upload(big_file)
    assert fake.element.files[uploaded.file_id][1] == BIG
    assert len(fake.element.first_offsets) == 2


async def test_upload_without_progress_gives_up_and_says_so(fake: FakeMesh, big_file: Path) -> None:
    fake.element.write_faults = [Fault(0, errors.Unavailable("down"), before_accepting=True)] * 99
    async with fake.client(retry_for_seconds=0.5) as client:
        with pytest.raises(artstore_client.Unavailable, match=r"Gave up after 0.5 s") as caught:
            await client.upload(big_file)
    assert caught.value.reason == "NO_PROGRESS"


async def test_lost_answer_to_a_commit_gives_one_file(fake: FakeMesh, big_file: Path) -> None:
    fake.element.unary_faults["CommitUpload"] = [errors.Unavailable("lost")] * 8
    async with fake.client() as client:
        uploaded = await client.upload(big_file)
    assert list(fake.element.files) == [uploaded.file_id]


async def test_after_a_lost_answer_to_a_commit_a_search_can_wait_for_the_file(
    fake: FakeMesh, big_file: Path
) -> None:
    # As often as the channel tries.
    fake.element.unary_faults["CommitUpload"] = [errors.Unavailable("lost")] * 4
    async with fake.client() as client:
        uploaded = await client.upload(big_file)
    assert uploaded.change_token == "changed"


async def test_large_upload_repeated_with_its_request_id_answers_the_first_file(
    fake: FakeMesh, big_file: Path
) -> None:
    async with fake.client() as client:
        first = await client.upload(big_file, request_id="mine")
        again = await client.upload(big_file, request_id="mine")
        with pytest.raises(artstore_client.AlreadyExists):
            await client.upload(bytes(reversed(BIG)), name="big.bin", request_id="mine")
    assert first.file_id == again.file_id
    assert fake.element.calls.count("WriteUpload") == 1


async def test_upload_that_is_gone_from_the_element_starts_anew(
    fake: FakeMesh, big_file: Path
) -> None:
    fake.element.write_faults = [
        Fault(700 * KIB, errors.Unavailable("restarting")),
        Fault(0, errors.NotFound("idle too long"), before_accepting=True),
    ]
    async with fake.client() as client:
        uploaded = await client.upload(big_file)
    assert fake.element.files[uploaded.file_id][1] == BIG
    assert len({header.request_id for header in fake.ingest.headers}) == 2


async def test_upload_taken_over_by_another_sender_is_left_to_it(
    fake: FakeMesh, big_file: Path
) -> None:
    fake.element.write_faults = [
        Fault(700 * KIB, errors.Unavailable("restarting")),
        Fault(0, errors.Aborted("other", reason="TAKEN_OVER"), before_accepting=True),
    ]
    async with fake.client() as client:
        with pytest.raises(artstore_client.Aborted) as caught:
            await client.upload(big_file)
    assert caught.value.reason == "TAKEN_OVER"
    assert "AbortUpload" not in fake.element.calls


async def _left_by_a_killed_client(fake: FakeMesh, path: Path, kept: int) -> None:
    fake.element.write_faults = [Fault(kept, None)]
    async with fake.client() as client:
        upload = asyncio.ensure_future(client.upload(path))
        await fake.element.until(lambda: fake.element.bytes_received >= kept)
        upload.cancel()
        await asyncio.wait([upload])


async def test_upload_of_a_killed_client_is_taken_up_by_the_next(
    fake: FakeMesh, big_file: Path
) -> None:
    await _left_by_a_killed_client(fake, big_file, 700 * KIB)
    (state,) = fake.state_folder.iterdir()
    assert state.stat().st_mode & 0o777 == 0o600
    async with fake.client() as client:
        uploaded = await client.upload(big_file)
    assert uploaded.resumed_at_bytes >= 700 * KIB
    assert fake.element.first_offsets[1] == uploaded.resumed_at_bytes
    assert uploaded.file.sha256 == hashlib.sha256(BIG).hexdigest()
    assert list(fake.state_folder.iterdir()) == []


async def test_full_disk_of_the_state_folder_stops_no_upload(
    fake: FakeMesh, big_file: Path
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        async with fake.client() as client:
            uploaded = await client.upload(big_file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert fake.element.files[uploaded.file_id][1] == BIG


async def test_changed_file_is_not_added_to_what_was_sent_of_the_old_one(
    fake: FakeMesh, big_file: Path
) -> None:
    await _left_by_a_killed_client(fake, big_file, 700 * KIB)
    changed = bytes(reversed(BIG))
    await asyncio.to_thread(big_file.write_bytes, changed)
    async with fake.client() as client:
        uploaded = await client.upload(big_file)
    assert fake.element.files[uploaded.file_id][1] == changed
    assert uploaded.resumed_at_bytes == 0


async def test_left_upload_that_the_mesh_has_forgotten_starts_anew(
    fake: FakeMesh, big_file: Path
) -> None:
    await _left_by_a_killed_client(fake, big_file, 700 * KIB)
    fake.element.uploads.clear()
    fake.element.by_request_id.clear()
    async with fake.client() as client:
        uploaded = await client.upload(big_file)
    assert fake.element.files[uploaded.file_id][1] == BIG


async def test_two_uploads_of_one_path_at_once_do_not_fight(fake: FakeMesh, big_file: Path) -> None:
    async with fake.client() as one, fake.client() as other:
        first, second = await asyncio.gather(one.upload(big_file), other.upload(big_file))
    assert first.file_id != second.file_id
    assert fake.element.files[second.file_id][1] == BIG


async def test_source_that_is_written_to_meanwhile_is_refused(
    fake: FakeMesh, big_file: Path
) -> None:
    fake.element.pause.clear()
    async with fake.client() as client:
        upload = asyncio.ensure_future(client.upload(big_file))
        await fake.element.until(lambda: "WriteUpload" in fake.element.calls)
        os.utime(big_file, (1, 1))
        fake.element.pause.set()
        with pytest.raises(artstore_client.SourceChanged):
            await upload
    assert fake.element.files == {}
    assert "AbortUpload" in fake.element.calls


async def test_client_waits_for_a_slow_server_instead_of_reading_ahead(fake: FakeMesh) -> None:
    taken = 0

    def parts() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(64):
            taken += 1
            yield bytes(1024 * KIB)

    fake.ingest.faults = [Fault(1, None)]
    async with fake.client(idle_timeout_seconds=1.0) as client:
        with pytest.raises(artstore_client.DeadlineExceeded, match="nothing moved for 1 s"):
            await client.upload(parts(), name="x")
    assert taken <= 12


async def test_element_out_of_reach_is_written_to_through_ingest(
    fake: FakeMesh, big_file: Path
) -> None:
    async with fake.client(storage={"se-01": "localhost:1"}) as client:
        uploaded = await client.upload(big_file)
    assert fake.element.files[uploaded.file_id][1] == BIG
    assert "WriteUpload" in fake.ingest.passed_on


async def test_token_is_issued_once_for_many_calls_and_renewed_when_refused(
    fake: FakeMesh,
) -> None:
    async with fake.client() as client:
        uploaded = await client.upload(SMALL, name="x")
        await asyncio.gather(*(client.stat(uploaded.file_id) for _ in range(5)))
        assert fake.tokens.issued == 1
        fake.element.unary_faults["GetFile"] = [errors.Unauthenticated("key is gone")]
        await client.stat(uploaded.file_id)
    assert fake.tokens.issued == 2


async def test_connect_can_be_awaited_as_well(fake: FakeMesh) -> None:
    client = await fake.client()
    assert isinstance(client, Client)
    await client.close()
