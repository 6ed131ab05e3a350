"""A storage that freezes under downloads, and dependencies that die under everything at once."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from aiohttp.http_writer import StreamWriter

from artstore.v1 import downloads_pb2, storage_pb2
from mesh.errors import Unavailable
from storage_server.store.local import LocalStore
from storage_server.store.s3_client import S3Client
from storage_server.store.s3_config import S3Config
from tests.support.caller import ending_of
from tests.support.services import PostgresProcess, S3Process, ValkeyProcess
from tests.support.storage_rig import CHUNK, Node, Rig, noise
from tests.support.waiting import until

Code = grpc.StatusCode
BAR_SECONDS = 10.0
UNKNOWN = "019b76da-a800-7ba2-bf08-ba7b2a556ee5"


@pytest.fixture
def breakable_s3(
    tmp_path: Path,
    database_url: str,
    redis_url: str,
    own_s3: S3Process,
    monkeypatch: pytest.MonkeyPatch,
) -> Rig:
    account = own_s3.create_bucket()
    for name, value in account.environment().items():
        monkeypatch.setenv(name, value)
    return Rig(
        tmp_path,
        database_url=database_url,
        redis_url=redis_url,
        s3_endpoint_url=account.endpoint_url,
        s3_bucket=account.bucket,
    )


async def _refused_download(node: Node, file_id: str, **claims: Any) -> None:
    """A download that ends UNAVAILABLE within the bar, before any header."""
    began = time.monotonic()
    call = node.stub.Download(
        downloads_pb2.DownloadRequest(file_id=file_id), metadata=node.bearer(**claims), timeout=60
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for part in call:
            pytest.fail(f"a {part.WhichOneof('payload')} came")
    ending = ending_of(refused.value, time.monotonic() - began)
    assert (ending.code, ending.has_retry_info) == (Code.UNAVAILABLE, True)
    assert "storage" in ending.text.lower() or "S3" in ending.text
    assert ending.seconds < BAR_SECONDS


async def test_downloads_are_refused_soon_when_the_s3_server_freezes(
    breakable_s3: Rig, own_s3: S3Process
) -> None:
    async with breakable_s3.running() as node:
        files = [(await node.upload(noise(size))).file for size in (5, 3 * CHUNK, 40 * CHUNK)]
        # Of one there is no row: its sidecar has to be found first.
        other = [(await node.upload(b"12345")).file.file_id]
        connection = await asyncpg.connect(node.rig.values["database_url"])
        await connection.execute("DELETE FROM storage_elem_01_files WHERE file_id = $1", other[0])
        await connection.close()
        own_s3.freeze()
        try:
            await asyncio.gather(
                *(_refused_download(node, file.file_id) for file in files),
                *(_refused_download(node, file_id) for file_id in other),
            )
        finally:
            own_s3.thaw()
        await until(lambda: _downloads(node, files[0].file_id), 15)


async def _downloads(node: Node, file_id: str) -> bool:
    try:
        return bool(await node.download(file_id))
    except grpc.aio.AioRpcError:
        return False


async def test_downloads_are_refused_soon_when_the_disk_freezes(
    local_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen, go_on = threading.Event(), threading.Event()

    def stuck(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if frozen.is_set():
                go_on.wait(30)
            return real(*arguments, **options)

        return call

    real_start = LocalStore.__init__

    def with_a_disk_that_freezes(store: LocalStore, *arguments: Any, **options: Any) -> None:
        real_start(store, *arguments, **options)
        for pool in (store._threads, store._listers, store._finders):
            submit = pool._pool.submit
            monkeypatch.setattr(
                pool._pool,
                "submit",
                lambda call, *a, _submit=submit, **o: _submit(stuck(call), *a, **o),
            )

    monkeypatch.setattr(LocalStore, "__init__", with_a_disk_that_freezes)
    async with local_rig.running() as node:
        file = (await node.upload(noise(3 * CHUNK))).file
        frozen.set()
        try:
            await _refused_download(node, file.file_id)
        finally:
            go_on.set()


# --- what dies leaves no task behind that nobody waits for ---------------------------------


@pytest.fixture
def asyncio_errors(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What asyncio has complained of so far, with everything collected that was dropped."""
    caplog.set_level(logging.WARNING, logger="asyncio")

    def found() -> list[str]:
        gc.collect()
        return [
            f"{record.getMessage()} {record.exc_info}"
            for record in caplog.records
            if record.name == "asyncio" and record.levelno >= logging.ERROR
        ]

    return found


async def _busy(node: Node, known: str, stop: asyncio.Event) -> None:
    """Calls of all kinds, one after the other, whatever they answer."""
    data = noise(24 * CHUNK)
    while not stop.is_set():
        for call in (
            lambda: node.upload(data),
            lambda: node.download(known),
            lambda: node.call(
                "UpdateFile",
                storage_pb2.UpdateFileRequest(file_id=known, file={"description": "x"}),
            ),
            lambda: node.get(known),
            # In a hurry: what is still under way then is left behind.
            lambda: node.call(
                "GetFile", storage_pb2.StorageServiceGetFileRequest(file_id=UNKNOWN), timeout=1.0
            ),
            node.list,
        ):
            try:
                async with asyncio.timeout(3):
                    await call()
            except (grpc.aio.AioRpcError, TimeoutError, asyncio.CancelledError):
                continue


async def _dies_under_load(node: Node, server: PostgresProcess | S3Process | ValkeyProcess) -> None:
    known = (await node.upload(noise(24 * CHUNK))).file.file_id
    opened = await node.start_upload()
    await node.write_upload(opened, noise(CHUNK))
    stop = asyncio.Event()
    callers = [asyncio.create_task(_busy(node, known, stop)) for _ in range(4)]
    await asyncio.sleep(0.7)
    # Frozen first, so that it dies with everything half sent.
    server.freeze()
    await asyncio.sleep(0.3)
    await asyncio.to_thread(server.kill)
    await asyncio.sleep(1)
    await asyncio.to_thread(server.start)
    stop.set()
    await asyncio.gather(*callers, return_exceptions=True)

    async def works() -> bool:
        try:
            await node.upload()
        except grpc.aio.AioRpcError:
            return False
        return True

    await until(works, 20)


async def test_a_connection_that_is_lost_before_a_body_is_sent_leaves_no_error_of_asyncio(
    asyncio_errors: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a server dies whose connections were kept: a second attempt takes one as it goes."""
    write_headers = StreamWriter.write_headers
    attempts = 0

    async def and_lose_it(writer: StreamWriter, *arguments: Any) -> None:
        nonlocal attempts
        attempts += 1
        await write_headers(writer, *arguments)
        if attempts > 1:
            assert writer.transport is not None
            asyncio.get_running_loop().call_soon(writer.transport.abort)

    monkeypatch.setattr(StreamWriter, "write_headers", and_lose_it)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    config = S3Config(f"http://127.0.0.1:{port}", "b", "p", access_key="a", secret_key="s")
    client = await S3Client.open(config)
    try:
        with pytest.raises(Unavailable):
            await client.call_once("put_object", "k", Body=b"bytes")
    finally:
        await client.close()
        server.close()
    assert attempts == 2
    assert asyncio_errors() == []


async def test_a_killed_s3_server_leaves_no_error_of_asyncio(
    breakable_s3: Rig, own_s3: S3Process, asyncio_errors: Callable[[], list[str]]
) -> None:
    async with breakable_s3.running() as node:
        await _dies_under_load(node, own_s3)
    assert asyncio_errors() == []


@pytest.mark.full
async def test_a_killed_postgresql_leaves_no_error_of_asyncio(
    tmp_path: Path,
    own_postgres: PostgresProcess,
    redis_url: str,
    asyncio_errors: Callable[[], list[str]],
) -> None:
    rig = Rig(tmp_path, database_url=own_postgres.create_database(), redis_url=redis_url)
    async with rig.running() as node:
        await _dies_under_load(node, own_postgres)
    assert asyncio_errors() == []


@pytest.mark.full
async def test_a_killed_redis_leaves_no_error_of_asyncio(
    tmp_path: Path,
    database_url: str,
    own_valkey: ValkeyProcess,
    asyncio_errors: Callable[[], list[str]],
) -> None:
    rig = Rig(tmp_path, database_url=database_url, redis_url=own_valkey.url)
    async with rig.running() as node:
        await _dies_under_load(node, own_valkey)
    assert asyncio_errors() == []
