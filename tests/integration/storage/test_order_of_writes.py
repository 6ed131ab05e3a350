"""Intent, sidecar, row: the order of a whole write in a running element (correctness 2 to 4, 7).

A kill proves nothing about what is on the disk, so the calls are recorded: those of the store,
the commit of the intent when it has ended, and that of the row when it begins. Which steps there
are, and in which order, `storage_server.writing.protocol` says; the exhaustive model of
`tests/unit/storage/test_repair_model.py` walks the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from artstore.v1 import storage_pb2, types_pb2
from storage_server.catalog.pending import Pending
from storage_server.catalog.writes import Writes
from storage_server.store.local_files import LocalFiles
from storage_server.writing.protocol import Step
from tests.support.recorder import Recorder
from tests.support.storage_rig import Rig

INTENT, ROW = Step.INTENT.value, Step.ROW.value


@pytest.fixture
def recorder(local_rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    found = Recorder(local_rig.root, monkeypatch)
    begin_write, commit_row = Pending.begin_write, Writes.commit_row

    async def begun(*args: Any, **more: Any) -> int:
        pending_id = await begin_write(*args, **more)
        found.calls.append(INTENT)
        return pending_id

    async def committed(*args: Any, **more: Any) -> Any:
        found.calls.append(ROW)
        return await commit_row(*args, **more)

    # The proof that the store takes writes comes at a time of its own.
    monkeypatch.setattr(LocalFiles, "try_write", lambda files: None)
    monkeypatch.setattr(Pending, "begin_write", begun)
    monkeypatch.setattr(Writes, "commit_row", committed)
    return found


def sidecar_of(file: types_pb2.File) -> tuple[str, list[str]]:
    """The path of a file's sidecar, and the calls that put it there."""
    path = f"{file.storage_path}/{file.storage_filename}.attr.json"
    return path, [
        "append .staging/new",
        "fsync .staging/new",
        f"rename .staging/new {path}",
        f"fsync {file.storage_path}",
    ]


def whole_write(file: types_pb2.File) -> list[str]:
    """The calls of a write, step by step."""
    calls = {Step.INTENT: [INTENT], Step.SIDECAR: sidecar_of(file)[1], Step.ROW: [ROW]}
    return [call for step in Step for call in calls[step]]


async def test_upload_is_intended_then_stored_then_described_then_recorded(
    local_rig: Rig, recorder: Recorder
) -> None:
    async with local_rig.running() as node:
        start = len(recorder.calls)
        file = (await node.upload(b"content")).file
        calls = recorder.since(start)
    blob = f"{file.storage_path}/{file.storage_filename}"
    stage = f".staging/{file.file_id}"
    folders = [part for part in calls if part.startswith(("mkdir", "fsync .", "fsync 2"))]
    first, second, *others = [
        call for call in calls if call not in folders or call == f"fsync {stage}"
    ]
    # Bytes on a stage are no file yet, so they wait for nobody.
    assert {first, second} == {f"append {stage}", INTENT}
    assert others == [
        f"fsync {stage}",
        f"touch {stage}",
        f"rename {stage} {blob}",
        *(call for call in sidecar_of(file)[1] if not call.startswith("fsync")),
        ROW,
    ]
    placed, begun = calls.index(f"rename {stage} {blob}"), calls.index("append .staging/new")
    # The blob's folder, and every one that was made for it, before the sidecar is begun.
    assert f"fsync {file.storage_path}" in calls[placed:begun]
    made = [call.removeprefix("mkdir ") for call in calls if call.startswith("mkdir")]
    assert made[-1] == file.storage_path
    for folder in made:
        parent = folder.rpartition("/")[0] or "."
        assert f"fsync {parent}" in calls[calls.index(f"mkdir {folder}") : placed]
    assert calls[begun:] == [*sidecar_of(file)[1], ROW]


@pytest.mark.parametrize("kind", ["update", "delete", "undelete"])
async def test_change_is_intended_then_described_then_recorded(
    local_rig: Rig, recorder: Recorder, kind: str
) -> None:
    async with local_rig.running() as node:
        file = (await node.upload(b"content")).file
        update = storage_pb2.UpdateFileRequest(
            file_id=file.file_id, file=types_pb2.File(description="x")
        )
        delete = storage_pb2.DeleteFileRequest(file_id=file.file_id)
        undelete = storage_pb2.UndeleteFileRequest(file_id=file.file_id)
        changes: dict[str, Callable[[], Awaitable[Any]]] = {
            "update": lambda: node.call("UpdateFile", update),
            "delete": lambda: node.call("DeleteFile", delete),
            "undelete": lambda: node.call("UndeleteFile", undelete),
        }
        if kind == "undelete":
            await changes["delete"]()
        start = len(recorder.calls)
        await changes[kind]()
        assert recorder.since(start) == whole_write(file)


async def test_blob_without_trash_goes_after_its_tombstone_is_recorded(
    local_rig: Rig, recorder: Recorder
) -> None:
    async with local_rig.running(trash_days=0) as node:
        file = (await node.upload(b"content")).file
        start = len(recorder.calls)
        await node.call("DeleteFile", storage_pb2.DeleteFileRequest(file_id=file.file_id))
        calls = recorder.since(start)
    blob = f"{file.storage_path}/{file.storage_filename}"
    before = whole_write(file)
    assert calls[: len(before)] == before
    assert f"unlink {blob}" in calls[len(before) :]
