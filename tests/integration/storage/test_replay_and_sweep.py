"""What dead writers leave behind is finished or removed, and nothing else is touched."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest

from artstore.v1 import storage_pb2, types_pb2, uploads_pb2
from mesh.errors import Unavailable
from storage_server.catalog.pending import Pending
from storage_server.catalog.writes import Writes
from storage_server.store.local import LocalStore
from storage_server.store.s3 import S3Store
from storage_server.upkeep.sweep import Sweeper
from storage_server.writing.recording import Recording
from storage_server.writing.replay import Replay
from tests.support.storage_process import Process
from tests.support.storage_rig import CHUNK, Rig, accepted, chunk_of, noise
from tests.support.waiting import until

Code = grpc.StatusCode


async def _sql(rig: Rig, statement: str, *arguments: object) -> Any:
    connection = await asyncpg.connect(rig.values["database_url"])
    try:
        return await connection.fetchval(statement, *arguments)
    finally:
        await connection.close()


def _no_intents(rig: Rig) -> Any:
    async def asked() -> bool:
        return not await _sql(rig, "SELECT count(*) FROM storage_elem_01_pending_writes")

    return asked


async def _down(*_: Any, **__: Any) -> Any:
    raise Unavailable("database artstore is not answering")


@pytest.mark.parametrize("what", ["upload", "update", "delete"])
async def test_a_write_cut_off_before_its_row_gets_it_after_the_restart(
    rig: Rig, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig.running() as node:
        file = (await node.upload(b"first")).file
        calls: dict[str, Any] = {
            "upload": lambda: node.upload(b"second"),
            "update": lambda: node.call(
                "UpdateFile",
                storage_pb2.UpdateFileRequest(
                    file_id=file.file_id, file=types_pb2.File(version="2")
                ),
            ),
            "delete": lambda: node.call(
                "DeleteFile", storage_pb2.DeleteFileRequest(file_id=file.file_id)
            ),
        }
        with monkeypatch.context() as broken:
            broken.setattr(Writes, "commit_row", _down)
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await calls[what]()
            assert error.value.code() == Code.UNAVAILABLE
    async with rig.running() as node:
        await until(_no_intents(rig))
        listed = await node.list()
        element = await node.element()
        assert (listed.total_size, element.file_count, element.used_bytes) == {
            "upload": (2, 2, 11),
            "update": (1, 1, 5),
            "delete": (0, 0, 5),
        }[what]
        if what == "update":
            assert listed.files[0].version == "2"


async def test_an_upload_cut_off_before_its_sidecar_leaves_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig.running() as node:
        with monkeypatch.context() as broken:
            broken.setattr(Recording, "write_sidecar", _down)
            # As if killed: nothing is tidied up.
            broken.setattr("storage_server.uploads.streamed.StreamedUpload._drop", _nothing)
            broken.setattr(Pending, "end_pending", _nothing)
            with pytest.raises(grpc.aio.AioRpcError):
                await node.upload(b"lost")
        assert not await _no_intents(rig)()
    monkeypatch.setattr("storage_server.writing.replay.LANDING_TIME", timedelta(0))
    async with rig.running() as node:
        await until(_no_intents(rig))
        assert rig.files() == []
        assert (await node.list()).total_size == 0
        assert (await node.element()).used_bytes == 0


@pytest.mark.parametrize(("what", "lands"), [("update", True), ("delete", True), ("update", False)])
async def test_a_sidecar_that_lands_late_gets_its_row(
    local_rig: Rig, what: str, lands: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was sent, and nobody heard what became of it."""
    replays: list[Replay] = []
    sent: list[Any] = []
    original = LocalStore.write_sidecar

    class Remembered(Replay):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            replays.append(self)

    async def unheard_of(*arguments: Any, **named: Any) -> Any:
        sent.append((arguments, named))
        raise Unavailable("the storage does not answer")

    monkeypatch.setattr("storage_server.wiring.files.Replay", Remembered)
    async with local_rig.running() as node:
        file = (await node.upload(description="old")).file
        file_id = file.file_id
        update = storage_pb2.UpdateFileRequest(
            file_id=file_id, file=types_pb2.File(description="new")
        )
        with monkeypatch.context() as broken:
            broken.setattr(LocalStore, "write_sidecar", unheard_of)
            with pytest.raises(grpc.aio.AioRpcError):
                if what == "update":
                    await node.call("UpdateFile", update)
                else:
                    await node.call("DeleteFile", storage_pb2.DeleteFileRequest(file_id=file_id))
        await replays[0].all()
        found = await node.get(file_id)
        assert (found.description, found.cache_stale) == ("old", False)
        assert not await _no_intents(local_rig)()
        if lands:
            ((arguments, named),) = sent
            await original(*arguments, **named)
        else:
            monkeypatch.setattr("storage_server.writing.replay.LANDING_TIME", timedelta(0))
        await replays[0].all()
        assert await _no_intents(local_rig)()
        listed = [one.description for one in (await node.list()).files]
        assert listed == (["old"] if not lands else ["new"] if what == "update" else [])


async def test_a_sidecar_on_s3_that_lands_after_its_sender_died_gets_its_row(
    s3_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server had the whole PUT when the process was killed, and carries it out later."""
    sent: list[Any] = []

    async def taken(store: S3Store, path: str, content: bytes, **_: Any) -> Any:
        sent.append((path, content))
        raise Unavailable("the storage does not answer")

    async with s3_rig.running() as node:
        file = (await node.upload(description="old")).file
        update = storage_pb2.UpdateFileRequest(
            file_id=file.file_id, file=types_pb2.File(description="new")
        )
        with monkeypatch.context() as broken:
            broken.setattr(S3Store, "write_sidecar", taken)
            with pytest.raises(grpc.aio.AioRpcError):
                await node.call("UpdateFile", update)
    replayed: list[Replay] = []
    original_all = Replay.all

    async def watched(replay: Replay) -> None:
        await original_all(replay)
        replayed.append(replay)

    monkeypatch.setattr(Replay, "all", watched)
    async with s3_rig.running() as node:
        await until(lambda: bool(replayed))
        assert (await node.get(file.file_id)).description == "old"
        assert not await _no_intents(s3_rig)()
        ((path, content),) = sent
        assert s3_rig.bucket is not None
        s3_rig.bucket.write(path, content)
        await replayed[0].all()
        assert await _no_intents(s3_rig)()
        assert [one.description for one in (await node.list()).files] == ["new"]


async def _nothing(*_: Any, **__: Any) -> None:
    return None


async def test_on_start_dead_stages_go_and_open_uploads_stay(local_rig: Rig) -> None:
    async with local_rig.running() as node:
        opened = await node.start_upload()
        data = noise(3 * CHUNK)
        await node.write_upload(opened, data[:CHUNK])
        (local_rig.root / ".staging" / "01890000-0000-7000-8000-000000000000").write_bytes(b"x")
    async with local_rig.running() as node:
        await until(lambda: local_rig.files() == [f".staging/{opened.upload_id}"])
        await node.write_upload(opened, data[CHUNK:], offset=CHUNK)
        file = (await node.commit_upload(opened)).file
        assert await node.download(file.file_id) == data


async def test_the_sweeper_spares_what_is_under_way(local_rig: Rig) -> None:
    async with local_rig.running() as node:
        call = node.open_upload()
        header = uploads_pb2.UploadHeader(original_filename="a.txt")
        await call.write(uploads_pb2.UploadRequest(header=header))
        assert await accepted(call)
        await call.write(uploads_pb2.UploadRequest(chunk=chunk_of(noise(CHUNK), 0)))
        await until(lambda: len(local_rig.files()) == 1)
        async with local_rig.running():
            # A standby sweeps nothing.
            assert len(local_rig.files()) == 1
        await call.write(uploads_pb2.UploadRequest(finish=uploads_pb2.UploadFinish()))
        assert (await call).file.size_bytes == CHUNK


async def test_a_sweep_leaves_a_stage_that_is_just_being_opened(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first sweep, without grace, runs while an upload opens its stage."""
    sweepers: list[Sweeper] = []
    swept: list[int] = []

    class Remembered(Sweeper):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            sweepers.append(self)

    def sweeping(opens: Any) -> Any:
        async def open_stage(*arguments: Any, **named: Any) -> Any:
            stage = await opens(*arguments, **named)
            swept.append(await sweepers[0].sweep(grace_seconds=0))
            return stage

        return open_stage

    monkeypatch.setattr("storage_server.wiring.upkeep.Sweeper", Remembered)
    for store in (LocalStore, S3Store):
        monkeypatch.setattr(store, "open_stage", sweeping(store.open_stage))
    async with rig.running() as node:
        file = (await node.upload(b"kept")).file
        assert swept == [0]
        assert await node.download(file.file_id) == b"kept"


@pytest.fixture
def process(local_rig: Rig) -> Any:
    started = Process(local_rig)
    yield started
    started.kill()


async def test_killed_in_mid_upload_it_leaves_what_was_acknowledged_and_nothing_else(
    process: Process,
) -> None:
    rig = process.rig
    process.start()
    async with process.node() as node:
        kept = (await node.upload(b"kept")).file
        data = noise(80 * 1024 * 1024)
        opened = await node.start_upload(size_bytes=len(data))
        call = node.open_write(opened)
        await call.write(uploads_pb2.WriteUploadRequest(upload_id=opened.upload_id))
        assert await accepted(call)
        stream = node.open_upload()
        header = uploads_pb2.UploadHeader(original_filename="a.txt")
        await stream.write(uploads_pb2.UploadRequest(header=header))
        assert await accepted(stream)
        for at in range(0, 72 * 1024 * 1024, CHUNK):
            chunk = chunk_of(data, at)
            await call.write(uploads_pb2.WriteUploadRequest(chunk=chunk))
            if at < 8 * CHUNK:
                await stream.write(uploads_pb2.UploadRequest(chunk=chunk))
        process.kill()
    process.start()
    async with process.node() as node:
        await until(lambda: len(rig.files()) == 3)
        assert (await node.list()).total_size == 1
        assert await node.download(kept.file_id) == b"kept"
        at = (await node.get_upload(opened)).committed_size_bytes
        assert 0 < at <= 72 * 1024 * 1024
        await node.write_upload(opened, data[at:], offset=at)
        file = (await node.commit_upload(opened)).file
        assert await node.download(file.file_id) == data


async def test_sigterm_ends_it_in_good_order(process: Process) -> None:
    running = process.start()
    async with process.node() as node:
        await node.upload()
    running.send_signal(signal.SIGTERM)
    started = time.monotonic()
    assert running.wait(15) == 0
    assert time.monotonic() - started < 5


def test_check_config_prints_the_settings_and_names_what_is_wrong(process: Process) -> None:
    command = [sys.executable, "-m", "storage_server", "--check-config"]
    root = Path(__file__).parents[3]
    good = subprocess.run(
        command, env=process.environment, cwd=root, capture_output=True, text=True, check=False
    )
    assert good.returncode == 0
    assert '"ARTSTORE_TRASH_DAYS": 7.0' in good.stdout
    wrong = process.environment | {"ARTSTORE_ELEMENT_ID": "first", "ARTSTORE_S3_BUCKET": "b"}
    bad = subprocess.run(command, env=wrong, cwd=root, capture_output=True, text=True, check=False)
    assert bad.returncode == 2
    assert "ARTSTORE_ELEMENT_ID" in bad.stderr
