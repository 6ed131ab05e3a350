"""Uploads to an element whose store turns out to read and not to write."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

import artstore_client
from artstore.v1 import elements_pb2, types_pb2
from artstore_client.cli.mesh import _state
from mesh import errors
from tests.contract.client.fake_mesh import FakeMesh, Fault

KIB = 1024
BIG = os.urandom(3 * 1024 * KIB + 17)
SMALL = os.urandom(200 * KIB + 3)
READ_ONLY = errors.StoreReadOnly("se-01 takes no writes: its file system is read-only")


@pytest.mark.parametrize("after_bytes", [0, 64 * KIB, 700 * KIB])
async def test_large_source_begins_again_under_its_request_id(
    fake: FakeMesh, tmp_path: Path, after_bytes: int
) -> None:
    path = tmp_path / "big.bin"
    path.write_bytes(BIG)
    fake.element.write_faults = [Fault(after_bytes, READ_ONLY, before_accepting=not after_bytes)]
    async with fake.client() as client:
        uploaded = await client.upload(path)
    assert fake.element.files[uploaded.file_id][1] == BIG
    assert fake.element.first_offsets[-1] == 0
    # The one opened first is ended, and what it may have become is found by the second.
    assert "AbortUpload" in fake.element.calls
    assert len(fake.ingest.headers) == 2
    assert len({header.request_id for header in fake.ingest.headers}) == 1
    assert list(fake.state_folder.iterdir()) == []


async def test_commit_that_is_refused_begins_again(fake: FakeMesh) -> None:
    fake.element.unary_faults["GetUpload"] = [READ_ONLY]
    async with fake.client() as client:
        uploaded = await client.upload(io.BytesIO(BIG), name="x")
    assert fake.element.files[uploaded.file_id][1] == BIG


async def test_small_source_begins_again(fake: FakeMesh) -> None:
    fake.ingest.faults = [Fault(1, READ_ONLY)]
    async with fake.client() as client:
        uploaded = await client.upload(SMALL, name="x")
    assert fake.element.files[uploaded.file_id][1] == SMALL
    assert len({header.request_id for header in fake.ingest.headers}) == 1


async def test_source_that_comes_once_ends_at_once_and_says_what_to_do(fake: FakeMesh) -> None:
    fake.ingest.faults = [Fault(1, READ_ONLY)]
    async with fake.client() as client:
        with pytest.raises(artstore_client.FailedPrecondition) as caught:
            await client.upload(iter([SMALL]), name="x")
    assert caught.value.reason == "STORE_READ_ONLY"
    assert "its file system is read-only" in str(caught.value)
    assert "goes to another element" in str(caught.value)
    assert "put it into a file first" in str(caught.value)
    assert len(fake.ingest.headers) == 1


async def test_element_that_is_full_does_not_keep_the_request(fake: FakeMesh) -> None:
    """Another reason, another request: the full element may still have bytes of the first."""
    fake.element.write_faults = [Fault(64 * KIB, errors.ResourceExhausted("full"))]
    async with fake.client() as client:
        await client.upload(io.BytesIO(BIG), name="x")
    assert len({header.request_id for header in fake.ingest.headers}) == 2


def test_state_of_an_element_says_why_it_takes_nothing() -> None:
    full = types_pb2.FILL_LEVEL_FULL
    told = {
        _state(elements_pb2.StorageElement(writable=True)): "writable",
        _state(
            elements_pb2.StorageElement(unwritable_reason="its file system is read-only")
        ): "not writable, its file system is read-only",
        _state(
            elements_pb2.StorageElement(unwritable_reason="full", fill_level=full)
        ): "not writable, full",
        _state(
            elements_pb2.StorageElement(unwritable_reason="mode ro", fill_level=full)
        ): "not writable, full, mode ro",
    }
    assert list(told) == list(told.values())
