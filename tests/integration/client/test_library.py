"""The library against the real mesh, on local files and on S3."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

import artstore_client
from artstore.v1 import accounts_pb2, query_pb2
from artstore_client import Client, SyncClient
from tests.support.caller import Caller, ended
from tests.support.mesh import MeshProcess
from tests.support.waiting import until

MIB = 1024 * 1024
Connect = Callable[..., Client]


@pytest.mark.parametrize("size", [0, 1, 3 * MIB + 7, 20 * MIB + 3])
async def test_bytes_come_back_as_they_went_in(
    mesh: MeshProcess, connect: Connect, tmp_path: Path, size: int
) -> None:
    data = os.urandom(size)
    source, target = tmp_path / "исходник 🎉.bin", tmp_path / "копия.bin"
    await asyncio.to_thread(source.write_bytes, data)
    async with connect(mesh) as client:
        uploaded = await client.upload(source, tags=["t"], attributes={"k": "в"})
        result = await client.download(uploaded.file_id, target)
        part = io.BytesIO()
        await client.download(uploaded.file_id, part, offset=size // 2, length=1000)
    assert await asyncio.to_thread(target.read_bytes) == data
    assert result.verified
    assert part.getvalue() == data[size // 2 :][:1000]
    assert uploaded.file.original_filename == "исходник 🎉.bin"
    assert uploaded.file.storage_element_id == "se-01"
    assert uploaded.file.sha256 == hashlib.sha256(data).hexdigest()


async def test_iterator_of_unknown_size_goes_in_one_stream(
    mesh: MeshProcess, connect: Connect
) -> None:
    data = os.urandom(10 * MIB + 1)

    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 333_333):
            yield data[start : start + 333_333]

    async with connect(mesh) as client:
        uploaded = await client.upload(parts(), name="streamed", permanent=True)
        got = b"".join([block async for block in client.download(uploaded.file_id)])
    assert got == data
    assert uploaded.file.storage_element_id == "se-03"


async def test_life_of_a_file(mesh: MeshProcess, connect: Connect) -> None:
    async with connect(mesh) as client:
        uploaded = await client.upload(b"first", name="a.txt", description="d")
        file_id, revision = uploaded.file_id, uploaded.file.revision
        changed = await client.update(
            file_id, expected_revision=revision, description="new", tags=["x", "y"]
        )
        assert (changed.revision, changed.description) == (revision + 1, "new")
        with pytest.raises(artstore_client.Aborted) as caught:
            await client.update(file_id, expected_revision=revision, version="2")
        assert caught.value.reason == "REVISION_CONFLICT"
        assert file_id in [file.file_id async for file in client.list_files("se-01")]
        await client.delete(file_id)
        with pytest.raises(artstore_client.NotFound):
            await client.stat(file_id)
        assert await client.get_many([file_id]) == {}
        restored = await client.undelete(file_id)
        assert list(restored.tags) == ["x", "y"]
        assert (await client.get_many([file_id]))[file_id].revision == restored.revision


async def test_an_id_is_understood_however_it_is_written(
    mesh: MeshProcess, connect: Connect, tmp_path: Path
) -> None:
    async with connect(mesh) as client:
        file_id = (await client.upload(b"12345", name="a.txt")).file_id
        written = f" {{{file_id.upper()}}}\n"
        assert (await client.stat(written)).file_id == file_id
        assert (await client.get_many([written, file_id])).keys() == {written, file_id}
        assert (await client.update(written, description="d")).file_id == file_id
        await client.download(written, tmp_path / "a.txt")
        assert (tmp_path / "a.txt").read_bytes() == b"12345"
        async with Caller(mesh.file) as caller:
            request = query_pb2.QueryServiceGetFileRequest(file_id=written)

            async def indexed() -> bool:
                told = await ended(caller.query.GetFile(request, **caller.auth))
                return told.answer is not None and told.answer.file.file_id == file_id

            await until(indexed)
        await client.delete(written)
        assert (await client.undelete(written)).file_id == file_id


async def test_request_id_makes_a_repeat_harmless(mesh: MeshProcess, connect: Connect) -> None:
    request_id = os.urandom(8).hex()
    async with connect(mesh) as client:
        first = await client.upload(b"same", name="a", request_id=request_id)
        again = await client.upload(b"same", name="a", request_id=request_id)
        with pytest.raises(artstore_client.AlreadyExists):
            await client.upload(b"same", name="other", request_id=request_id)
        with pytest.raises(artstore_client.AlreadyExists):
            await client.upload(b"diff", name="a", request_id=request_id)
    assert first.file_id == again.file_id


async def test_refusals_are_told_before_a_byte_is_sent(mesh: MeshProcess, connect: Connect) -> None:
    async with connect(mesh) as client:
        with pytest.raises(artstore_client.InvalidArgument) as long_name:
            await client.upload(b"x", name="я" * 600)
        assert "original_filename" in long_name.value.field
        with pytest.raises(artstore_client.DataLoss):
            await client.upload(b"x", name="a", sha256="0" * 64)
    async with connect(mesh, client_secret="wrong") as stranger:
        with pytest.raises(artstore_client.Unauthenticated):
            await stranger.upload(b"x", name="a")
    async with connect(mesh, token="not.a.token") as stranger:
        with pytest.raises(artstore_client.Unauthenticated):
            await stranger.upload(b"x", name="a")


async def test_cache_of_an_element_is_checked_and_rebuilt(
    mesh: MeshProcess, connect: Connect
) -> None:
    async with connect(mesh) as client:
        await client.upload(b"x", name="a")
        cache = client.cache("se-01")
        report = await cache.check()
        assert report.is_consistent
        result = await cache.rebuild(operation_id="watched")
        assert result.statistics.attr_files_scanned == report.total_attr_files
        states = [news.state async for news in cache.watch("watched")]
        assert states
        assert await cache.locks() == []


async def test_upload_is_found_by_search_with_its_change_token(
    mesh: MeshProcess, connect: Connect
) -> None:
    word = f"w{os.urandom(6).hex()}"
    async with connect(mesh) as client:
        uploaded = await client.upload(b"x", name=f"{word} report.txt")
        page = await client.search(word, min_change_tokens=[uploaded.change_token])
        assert [result.file.file_id for result in page.results] == [uploaded.file_id]
        everything = [result.file.file_id async for result in client.search_all(word)]
    assert everything == [uploaded.file_id]


def test_synchronous_face_does_the_same(mesh: MeshProcess, tmp_path: Path) -> None:
    data = os.urandom(9 * MIB)
    with SyncClient.connect(mesh_file=mesh.mesh_file, state_folder=tmp_path) as client:
        uploaded = client.upload(data, name="sync")
        assert b"".join(client.read(uploaded.file_id)) == data
        first = next(iter(client.read(uploaded.file_id)))
        assert data.startswith(first)
        client.download(uploaded.file_id, tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == data
        assert uploaded.file_id in [file.file_id for file in client.list_files("se-01")]
        assert client.cache("se-01").check().is_consistent
        assert {report.storage_element_id for report in client.elements()} == {
            "se-01",
            "se-02",
            "se-03",
        }


def test_a_script_makes_changes_and_removes_an_account(mesh_local: MeshProcess) -> None:
    with SyncClient.connect(mesh_file=mesh_local.mesh_file) as client:
        accounts = client.accounts
        made = accounts.create(role=accounts_pb2.ROLE_USER, description="a script's")
        name = made.account.client_id
        try:
            assert accounts.show(name) == made.account
            assert name in {account.client_id for account in accounts.list()}
            smaller = accounts_pb2.AccountLimits(calls=3)
            accounts.update(name, namespaces=["a"], limits=smaller)
            # Limits that are not named stay, an empty one takes all of them away.
            fewer = accounts.update(name, limits=accounts_pb2.AccountLimits(open_uploads=1))
            assert (fewer.limits.calls, list(fewer.namespaces)) == (3, ["a"])
            none = accounts.update(name, limits=accounts_pb2.AccountLimits())
            assert none.limits == accounts_pb2.AccountLimits()
            assert accounts.rotate(name, overlap_seconds=60).client_secret != made.client_secret
            assert accounts.suspend(name).suspended
            assert not accounts.resume(name).suspended
        finally:
            accounts.delete(name)
        with pytest.raises(artstore_client.NotFound):
            accounts.show(name)
