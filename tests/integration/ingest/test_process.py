"""`python -m ingest_server` as a process: settings, start, metrics, stop."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import urllib.request
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from artstore.v1 import ingest_pb2_grpc
from launch import processes
from tests.integration.ingest.conftest import IngestUnderTest
from tests.integration.ingest.fakes import fake_admin
from tests.support.services import clean_environment
from tests.support.token_issuer import Signer
from tests.support.waiting import until

REPOSITORY = Path(__file__).parent.parent.parent.parent
PYTHON_PATH = f"{REPOSITORY}:{REPOSITORY / 'gen'}"


async def test_it_starts_serves_counts_and_stops_in_good_order(
    signer: Signer, redis_url: str, tmp_path: Path, element: Any
) -> None:
    port, metrics_port = processes.free_port(), processes.free_port()
    async with fake_admin(signer) as (admin_endpoint, registry):
        registry.elements.append(await element("se-01"))
        process = await _start(
            tmp_path,
            ARTSTORE_PORT=str(port),
            ARTSTORE_METRICS_PORT=str(metrics_port),
            ARTSTORE_ADMIN_ENDPOINT=admin_endpoint,
            ARTSTORE_REDIS_URL=redis_url,
        )
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                await asyncio.wait_for(channel.channel_ready(), 20)
                under_test = IngestUnderTest(signer, registry, None)
                under_test.stub = ingest_pb2_grpc.IngestServiceStub(channel)
                await until((tmp_path / "keys" / "jwks.json").exists)
                assert (await under_test.upload(b"x" * 1000)).size_bytes == 1000
                assert "Upload" in await _methods(channel, under_test)
            page = await asyncio.to_thread(_page, metrics_port)
        finally:
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 20) == 0
    assert 'artstore_ingest_uploads_total{call="Upload",outcome="stored"} 1.0' in page
    assert "artstore_ingest_fresh_elements 1.0" in page
    counted = next(s for s in page.splitlines() if s.startswith("artstore_ingest_forwarded"))
    assert float(counted.split()[1]) > 1000
    lines = [json.loads(line) for line in (tmp_path / "ingest.log").read_text().splitlines()]
    assert [line for line in lines if line["level"] in ("error", "critical")] == []
    assert any(line["event"] == "stopped" for line in lines)


async def test_a_wrong_setting_is_named_with_its_value(tmp_path: Path) -> None:
    process = await _start(tmp_path, "--check-config", ARTSTORE_INGEST_IDLE_SECONDS="-3")
    assert process.stderr is not None
    said = (await process.stderr.read()).decode()
    assert await process.wait() == 2
    assert "ARTSTORE_INGEST_IDLE_SECONDS='-3'" in said


async def _start(folder: Path, *arguments: str, **variables: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *processes.wrapped([sys.executable, "-m", "ingest_server", *arguments]),
        cwd=REPOSITORY,
        env={
            **clean_environment(),
            "PYTHONPATH": PYTHON_PATH,
            "ARTSTORE_DATA_DIR": str(folder),
            "ARTSTORE_LOG_PATH": str(folder / "ingest.log"),
            "ARTSTORE_CLIENT_ID": "ingest-server",
            "ARTSTORE_CLIENT_SECRET": "secret",
            **variables,
        },
        stderr=asyncio.subprocess.PIPE,
    )


async def _methods(channel: grpc.aio.Channel, under_test: IngestUnderTest) -> list[str]:
    """Names of IngestService's methods as reflection tells them."""
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(
        file_containing_symbol="artstore.v1.IngestService"
    )
    call = stub.ServerReflectionInfo(iter([request]))
    async for answer in call:
        for serialized in answer.file_descriptor_response.file_descriptor_proto:
            for service in FileDescriptorProto.FromString(serialized).service:
                return [method.name for method in service.method]
    return []


def _page(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text: str = answer.read().decode()
        return text
