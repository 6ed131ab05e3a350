"""A proxy in the environment is for the web: nothing on this machine is reached through it."""

from __future__ import annotations

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from launch import reset
from mesh.calls.channels import open_channel
from storage_server.store.open import StoreConfig, open_store
from tests.support.services import S3Account

DEAD_PROXY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def shell(s3: S3Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies that are dead, in all spellings, and no exception; the bucket is there before."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy"):
        monkeypatch.setenv(name, DEAD_PROXY)
        monkeypatch.setenv(name.upper(), DEAD_PROXY)


async def test_servers_call_each_other_without_it() -> None:
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = server.add_insecure_port("localhost:0")
    await server.start()
    channel = open_channel(f"localhost:{port}")
    try:
        answer = await health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), timeout=10, wait_for_ready=True
        )
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    finally:
        await channel.close()
        await server.stop(None)


async def test_element_reaches_s3_without_it(s3: S3Account) -> None:
    config = StoreConfig(
        endpoint_url=s3.endpoint_url,
        bucket=s3.bucket,
        prefix="storage_element_01",
        access_key=s3.access_key,
        secret_key=s3.secret_key,
        deadline_seconds=5.0,
    )
    store = await open_store(config)
    await store.close()


async def test_reset_reaches_s3_without_it(s3: S3Account, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    await reset.empty_bucket(s3.endpoint_url, s3.bucket)
