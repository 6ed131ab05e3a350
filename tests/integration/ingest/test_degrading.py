"""Redis and admin stopped, or accepting and never answering: uploads go on."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from artstore.v1 import uploads_pb2
from tests.integration.ingest.conftest import (
    IngestUnderTest,
    chunk_message,
    finish_message,
    header_message,
    running_ingest,
)
from tests.integration.ingest.fakes import status_of
from tests.support.services import ValkeyProcess
from tests.support.token_issuer import Signer
from tests.support.waiting import until


@pytest.mark.parametrize("how", ["freeze", "stop"])
async def test_without_redis_uploads_are_placed_through_admin(
    signer: Signer, own_valkey: ValkeyProcess, tmp_path: Path, element: Any, how: str
) -> None:
    async with running_ingest(signer, own_valkey.url, tmp_path) as ingest:
        first, second = await element("se-01"), await element("se-02", priority=200)
        await ingest.announce(first)
        assert (await ingest.upload(b"x", request_id="r-0")).storage_element_id == "se-01"
        getattr(own_valkey, how)()
        try:
            began = time.monotonic()
            for number in range(5):
                await ingest.upload(b"x", request_id=f"r-{number + 1}")
            assert time.monotonic() - began < 2.0
            # An element that only admin can tell of.
            ingest.registry.elements.append(second)
            first.report.writable = False

            async def goes_to_the_second() -> bool:
                return bool((await ingest.upload(b"x")).storage_element_id == "se-02")

            await until(goes_to_the_second)
        finally:
            own_valkey.thaw() if how == "freeze" else own_valkey.start()
        again = await ingest.upload(b"x", request_id="r-0")
        assert again.size_bytes == 1


async def test_started_without_redis_it_serves_and_finds_redis_later(
    signer: Signer, own_valkey: ValkeyProcess, tmp_path: Path, element: Any
) -> None:
    own_valkey.stop()
    async with running_ingest(signer, own_valkey.url, tmp_path) as ingest:
        first = await element("se-01")
        ingest.registry.elements.append(first)
        assert (await ingest.upload(b"x")).storage_element_id == "se-01"
        own_valkey.start()
        ingest.registry.down = True
        await ingest.announce(first)

        async def is_remembered() -> bool:
            await ingest.upload(b"x", request_id="r-1")
            return bool(await ingest.redis.exists("artstore:request:alice:r-1"))

        await until(is_remembered)


@pytest.mark.parametrize("how", ["down", "silent"])
async def test_without_admins_list_uploads_are_placed_through_redis(
    ingest: IngestUnderTest, element: Any, how: str
) -> None:
    first, second = await element("se-01"), await element("se-02", priority=50)
    second.report.writable = False
    await ingest.announce(first, second)
    assert (await ingest.upload(b"x")).storage_element_id == "se-01"
    setattr(ingest.registry, how, True)
    second.report.writable = True
    await ingest.announce(second)
    assert (await ingest.upload(b"x")).storage_element_id == "se-02"


@pytest.mark.parametrize("how", ["up", "down"])
async def test_what_only_redis_tells_of_gets_neither_a_call_nor_a_token(
    ingest: IngestUnderTest, element: Any, how: str
) -> None:
    first, fake = await element("se-01"), await element("se-02", priority=50)
    await ingest.announce(first)
    await ingest.upload(b"x")
    ingest.registry.down = how == "down"
    await ingest.announce(fake, listed=False)
    assert (await ingest.upload(b"x")).storage_element_id == "se-01"
    assert await _refuses_upload_of(ingest, "se-02.1")
    assert fake.peers == []


async def test_whoever_has_an_elements_name_and_store_elsewhere_gets_nothing(
    ingest: IngestUnderTest, element: Any
) -> None:
    first, fake = await element("se-01"), await element("se-01")
    await ingest.announce(first)
    await ingest.upload(b"x")
    assert fake.report.store_id == first.report.store_id
    for store_id in (fake.report.store_id, "another"):
        fake.report.store_id = store_id
        for _ in range(3):
            await ingest.announce(fake, listed=False)
            assert (await ingest.upload(b"x")).size_bytes == 1
    assert fake.peers == []
    assert set(first.peers) == {"ingest-server"}


async def test_clients_are_sent_where_an_element_was_admitted_whatever_it_says(
    ingest: IngestUnderTest, element: Any
) -> None:
    first = await element("se-01")
    first.endpoint = "10.9.9.9:8010"
    await ingest.announce(first)
    request = uploads_pb2.StartUploadRequest(header={"original_filename": "a.bin"})
    opened = await ingest.stub.StartUpload(request, metadata=ingest.bearer(), timeout=10)
    assert opened.endpoint == first.report.endpoint


async def test_an_element_is_called_where_it_was_admitted_from_then_on(
    ingest: IngestUnderTest, element: Any
) -> None:
    """An ADMIN admitted another host; what the old one still says counts no more."""
    before, after = await element("se-01"), await element("se-01")
    await ingest.announce(before)
    await ingest.upload(b"x")
    ingest.registry.elements[:] = [after]

    async def is_called() -> bool:
        await ingest.announce(before, listed=False)
        await ingest.upload(b"x")
        return bool(after.peers)

    await until(is_called)
    calls = len(before.peers)
    await ingest.announce(before, listed=False)
    await ingest.upload(b"x")
    assert len(before.peers) == calls


async def _refuses_upload_of(ingest: IngestUnderTest, upload_id: str) -> bool:
    request = uploads_pb2.GetUploadRequest(upload_id=upload_id)
    error = await status_of(ingest.stub.GetUpload(request, metadata=ingest.bearer(), timeout=10))
    return error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE)


async def test_without_any_element_the_service_is_not_serving_and_says_that_there_is_none(
    ingest: IngestUnderTest, element: Any
) -> None:
    health = health_pb2_grpc.HealthStub(ingest.channel)
    request = health_pb2.HealthCheckRequest(service="artstore.v1.IngestService")

    async def serving() -> bool:
        answer = await health.Check(request)  # type: ignore[misc]
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def not_serving() -> bool:
        return not await serving()

    await until(not_serving)
    call = ingest.open()
    await call.write(header_message())
    assert (await status_of(call)).code() is grpc.StatusCode.FAILED_PRECONDITION
    await ingest.announce(await element("se-01"))
    await until(serving)
    await ingest.upload(b"x")


async def test_while_admins_list_was_never_had_nothing_is_said_of_what_exists(
    signer: Signer, redis_url: str, tmp_path: Path, element: Any
) -> None:
    async with running_ingest(signer, redis_url, tmp_path, registry_down=True) as ingest:
        await ingest.announce(await element("se-03", mode="RW"))
        call = ingest.open()
        await call.write(header_message())
        error = await status_of(call)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "admin" in error.details()


@pytest.mark.parametrize("ahead", [-250, 250])
async def test_an_element_whose_clock_differs_takes_uploads(
    signer: Signer, redis_url: str, tmp_path: Path, element: Any, ahead: int
) -> None:
    async with running_ingest(signer, redis_url, tmp_path) as ingest:
        first = await element("se-01")
        # Only what it says in Redis can be believed.
        first.admin_hears = False
        first.clock_ahead_seconds = ahead
        # The first has admin asked whether it is one; of the others the second one is believed.
        for _ in range(3):
            await ingest.announce(first)
        assert (await ingest.upload(b"x")).storage_element_id == "se-01"


async def test_a_report_that_is_too_old_counts_for_nothing(
    ingest: IngestUnderTest, element: Any
) -> None:
    first, second = await element("se-01"), await element("se-02", priority=200)
    await ingest.announce(second)
    first.as_json()
    first.report.reported_at.seconds -= 60
    stale = first.report.SerializeToString()
    await ingest.redis.set("artstore:element:se-01", _json(stale), ex=10)
    await ingest.redis.publish("artstore:elements", "se-01")
    await asyncio.sleep(0.15)
    assert (await ingest.upload(b"x")).storage_element_id == "se-02"


async def test_an_unreadable_report_hides_no_other(ingest: IngestUnderTest, element: Any) -> None:
    await ingest.redis.set("artstore:element:se-00", b"\xff{not json")
    await ingest.redis.publish("artstore:elements", "se-00")
    await ingest.announce(await element("se-01"))
    assert (await ingest.upload(b"x")).storage_element_id == "se-01"


async def test_a_graceful_stop_lets_an_upload_end(
    signer: Signer, redis_url: str, tmp_path: Path, element: Any
) -> None:
    async with running_ingest(signer, redis_url, tmp_path) as ingest:
        first = await element("se-01")
        await ingest.announce(first)
        call = ingest.open()
        await call.write(header_message())
        await call.initial_metadata()
        stopping = asyncio.create_task(ingest.server.stop(5))
        await asyncio.sleep(0.3)
        await call.write(chunk_message(0, b"x"))
        await call.write(finish_message(1))
        assert (await call).file.size_bytes == 1
        await stopping


def _json(serialized: bytes) -> str:
    from google.protobuf import json_format

    from artstore.v1 import elements_pb2

    report = elements_pb2.StorageElementReport.FromString(serialized)
    return json_format.MessageToJson(report, preserving_proto_field_name=True)
