"""S3 that fails in the midst of a commit: nothing is lost, nothing stays that nobody names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import grpc
import pytest

from artstore.v1 import uploads_pb2
from mesh.errors import Unavailable
from storage_server.store.port import SIDECAR_SUFFIX
from storage_server.store.s3_client import S3Client
from storage_server.upkeep import maintenance
from storage_server.writing import replay
from tests.support.s3_proxy import s3_proxy
from tests.support.storage_rig import Rig, noise
from tests.support.waiting import until

Code = grpc.StatusCode
MIB = 1024 * 1024


class Trouble:
    """Stands between a store and its S3 client: `on` answers, or None to let a call pass."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.on: Callable[..., Any] | None = None
        real = S3Client.call

        async def call(client: S3Client, operation: str, key: str = "", **more: Any) -> Any:
            if self.on is not None:
                await self.on(lambda: real(client, operation, key, **more), operation, key)
            return await real(client, operation, key, **more)

        patch.setattr(S3Client, "call", call)


@pytest.fixture
def trouble(monkeypatch: pytest.MonkeyPatch) -> Trouble:
    return Trouble(monkeypatch)


async def _unavailable(call: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    assert error.value.code() == Code.UNAVAILABLE


async def test_a_commit_whose_last_part_was_not_taken_goes_on(
    s3_rig: Rig, trouble: Trouble
) -> None:
    data = noise(9 * MIB)
    async with s3_rig.running() as node:
        opened = await node.start_upload(size_bytes=len(data))
        await node.write_upload(opened, data)

        async def no_parts(_: Any, operation: str, key: str) -> None:
            if operation == "upload_part":
                raise Unavailable("S3 does not answer")

        trouble.on = no_parts
        await _unavailable(node.commit_upload(opened))
        trouble.on = None
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await node.commit_upload(opened)
        assert error.value.code() == Code.OUT_OF_RANGE
        at = (await node.get_upload(opened)).committed_size_bytes
        assert at == 8 * MIB
        await node.write_upload(opened, data[at:], offset=at)
        assert await node.download((await node.commit_upload(opened)).file.file_id) == data


@pytest.mark.parametrize("size", [1000, 9 * MIB])
async def test_a_commit_whose_object_was_not_made_is_repeated(
    s3_rig: Rig, trouble: Trouble, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = noise(size)
    async with s3_rig.running() as node:
        opened = await node.start_upload(size_bytes=len(data))
        await node.write_upload(opened, data)

        async def no_objects(_: Any, operation: str, key: str) -> None:
            if operation == "put_object" and not key.endswith(".json"):
                raise Unavailable("S3 does not answer")

        async def never(*_: Any, **__: Any) -> Any:
            raise Unavailable("S3 does not answer")

        trouble.on = no_objects
        with monkeypatch.context() as silent:
            silent.setattr(S3Client, "call_once", never)
            await _unavailable(node.commit_upload(opened))
        trouble.on = None
        assert await node.download((await node.commit_upload(opened)).file.file_id) == data


@pytest.mark.parametrize("resumable", [False, True])
async def test_bytes_that_land_after_their_upload_was_given_up_are_removed(
    s3_rig: Rig, trouble: Trouble, monkeypatch: pytest.MonkeyPatch, resumable: bool
) -> None:
    monkeypatch.setattr(replay, "LANDING_TIME", timedelta(seconds=2))
    monkeypatch.setattr(maintenance, "INTERVAL_SECONDS", 0.1)
    landed: list[asyncio.Task[Any]] = []

    async def late(put: Callable[[], Any], operation: str, key: str) -> None:
        if operation == "put_object" and not key.endswith(SIDECAR_SUFFIX) and not landed:

            async def put_later() -> None:
                await asyncio.sleep(0.5)
                await put()

            landed.append(asyncio.create_task(put_later()))
            raise Unavailable("S3 does not answer")

    async with s3_rig.running() as node:
        trouble.on = late
        if resumable:
            opened = await node.start_upload()
            await node.write_upload(opened, b"12345")
            await _unavailable(node.commit_upload(opened))
            await node.call(
                "AbortUpload",
                uploads_pb2.AbortUploadRequest(upload_id=opened.upload_id),
                upload_token=opened.upload_token,
            )
        else:
            await _unavailable(node.upload(b"12345"))
        assert s3_rig.files() == []
        await landed[0]
        assert s3_rig.files() != []
        await until(lambda: s3_rig.files() == [])


@pytest.mark.parametrize("resumable", [False, True])
async def test_a_completion_that_lasts_longer_than_the_callers_deadline_is_unavailable_by_then(
    s3_rig: Rig, resumable: bool
) -> None:
    data = noise(9 * MIB)
    async with s3_proxy(s3_rig.values["s3_endpoint_url"]) as proxy:
        s3_rig.values["s3_endpoint_url"] = proxy.endpoint_url
        async with s3_rig.running() as node:
            proxy.hold_completions.clear()
            if not resumable:
                await _unavailable(node.upload(data, timeout=4.0))
                proxy.hold_completions.set()
                await until(lambda: s3_rig.files() == [])
                return
            opened = await node.start_upload(size_bytes=len(data))
            await node.write_upload(opened, data)
            await _unavailable(node.commit_upload(opened, timeout=3.0))
            proxy.hold_completions.set()
            assert await node.download((await node.commit_upload(opened)).file.file_id) == data
