"""Files whose names on disk have another form than recorded: every call finds them by their id."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from artstore.v1 import storage_pb2, types_pb2
from mesh.errors import Unavailable
from storage_server.catalog.writes import Writes
from tests.integration.storage.tables import EXPIRE, FILES, sql
from tests.support.backdoor import S3Backdoor
from tests.support.renaming import FORMS, Form, only_blobs, only_sidecars, renamed
from tests.support.services import S3Process
from tests.support.storage_rig import Node, Rig, noise
from tests.support.waiting import until

Code = grpc.StatusCode
NAME = "Отчёт й за год.PDF"
MASK = FieldMask(paths=["description"])


def files_of(node: Node, file_id: str) -> list[Path]:
    found = node.rig.root.glob("[0-9]*/*/*/*/*")
    return sorted(path for path in found if file_id in path.name.lower())


def rename(node: Node, file_id: str, form: Form) -> None:
    for path in files_of(node, file_id):
        path.rename(path.with_name(form(path.name)))


async def change(node: Node, file_id: str, description: str) -> types_pb2.File:
    request = storage_pb2.UpdateFileRequest(
        file_id=file_id, file=types_pb2.File(description=description), update_mask=MASK
    )
    return (await node.call("UpdateFile", request)).file


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_a_renamed_file_is_read_changed_deleted_and_brought_back(
    shared_local: Node, form: Form
) -> None:
    data = noise(700_000)
    file = (await shared_local.upload(data, original_filename=NAME)).file
    rename(shared_local, file.file_id, form)
    assert await shared_local.download(file.file_id) == data
    assert await shared_local.download(file.file_id, 600_000, 1000) == data[600_000:601_000]
    changed = await change(shared_local, file.file_id, "changed")
    assert (changed.revision, changed.description) == (2, "changed")
    await sql(shared_local, f"{EXPIRE} WHERE file_id = '{file.file_id}'")
    assert (await shared_local.get(file.file_id)).description == "changed"
    await sql(shared_local, f"DELETE FROM {FILES} WHERE file_id = '{file.file_id}'")
    put_back = await shared_local.get(file.file_id)
    assert (put_back.revision, put_back.storage_filename) == (2, file.storage_filename)
    await shared_local.call("DeleteFile", storage_pb2.DeleteFileRequest(file_id=file.file_id))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await shared_local.get(file.file_id)
    assert error.value.code() == Code.NOT_FOUND
    await shared_local.call("UndeleteFile", storage_pb2.UndeleteFileRequest(file_id=file.file_id))
    assert await shared_local.download(file.file_id) == data
    assert len(files_of(shared_local, file.file_id)) == 2


@pytest.mark.parametrize("part", [only_blobs, only_sidecars])
async def test_one_renamed_half_is_enough_to_be_missed_and_is_found(
    shared_local: Node, part: Callable[[Form], Form]
) -> None:
    file = (await shared_local.upload(b"hello", original_filename=NAME)).file
    rename(shared_local, file.file_id, part(FORMS["NFD"]))
    assert await shared_local.download(file.file_id) == b"hello"
    assert (await change(shared_local, file.file_id, "changed")).revision == 2
    assert len(files_of(shared_local, file.file_id)) == 2
    await shared_local.call("DeleteFile", storage_pb2.DeleteFileRequest(file_id=file.file_id))
    await shared_local.call("UndeleteFile", storage_pb2.UndeleteFileRequest(file_id=file.file_id))
    assert await shared_local.download(file.file_id) == b"hello"


async def test_a_renamed_object_is_read_changed_deleted_and_brought_back(
    shared_s3: Node, s3_server: S3Process
) -> None:
    data = noise(1000)
    file = (await shared_s3.upload(data, original_filename=NAME)).file
    bucket = S3Backdoor(
        s3_server.client(), shared_s3.rig.values["s3_bucket"], shared_s3.rig.root.name
    )

    def own() -> list[str]:
        return sorted(path for path in bucket.paths() if file.file_id in path.lower())

    for path in own():
        bucket.rename(path, renamed(path, str.upper))
    there = own()
    assert await shared_s3.download(file.file_id) == data
    assert (await change(shared_s3, file.file_id, "changed")).revision == 2
    await shared_s3.call("DeleteFile", storage_pb2.DeleteFileRequest(file_id=file.file_id))
    await shared_s3.call("UndeleteFile", storage_pb2.UndeleteFileRequest(file_id=file.file_id))
    assert await shared_s3.download(file.file_id) == data
    assert own() == there


async def test_the_trash_of_renamed_files_goes_when_it_is_time(local_rig: Rig) -> None:
    async with local_rig.running() as node:
        gone = [(await node.upload(b"hello", original_filename=NAME)).file for _ in range(3)]
        for file, form in zip(
            gone,
            (FORMS["NFD"], only_blobs(FORMS["NFD"]), only_sidecars(FORMS["upper case"])),
            strict=True,
        ):
            await node.call("DeleteFile", storage_pb2.DeleteFileRequest(file_id=file.file_id))
            rename(node, file.file_id, form)
    async with local_rig.running(trash_days=1e-9) as node:
        await until(lambda: len(local_rig.files()) == len(gone))


async def test_a_write_cut_off_before_the_store_was_renamed_is_replayed(
    local_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with local_rig.running() as node:
        file = (await node.upload(b"hello", original_filename=NAME)).file
        with monkeypatch.context() as broken:

            async def down(*_: Any, **__: Any) -> Any:
                raise Unavailable("database artstore is not answering")

            broken.setattr(Writes, "commit_row", down)
            for call in (
                change(node, file.file_id, "changed"),
                node.upload(b"new", original_filename=NAME, request_id="again"),
            ):
                with pytest.raises(grpc.aio.AioRpcError):
                    await call
    for path in sorted(local_rig.root.glob("[0-9]*/*/*/*/*")):
        path.rename(path.with_name(FORMS["NFD"](path.name)))
    async with local_rig.running() as node:

        async def replayed() -> bool:
            return not await sql(node, "SELECT count(*) FROM storage_elem_01_pending_writes")

        await until(replayed)
        assert (await node.get(file.file_id)).description == "changed"
        again = (await node.upload(b"new", original_filename=NAME, request_id="again")).file
        assert again.file_id != file.file_id
        assert await node.download(again.file_id) == b"new"
        assert (await node.list()).total_size == 2
