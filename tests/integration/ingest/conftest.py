"""A real ingest server in front of fake elements, with a fake admin and a real Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from artstore.v1 import ingest_pb2_grpc, types_pb2, uploads_pb2
from ingest_server.app import build
from ingest_server.settings import IngestSettings
from mesh.elements.discovery import REPORT_CHANNEL, REPORT_KEY_PREFIX
from mesh.redis import open_redis
from mesh.server.server import MeshServer
from tests.integration.ingest.fakes import FakeRegistry, PlacedElement, fake_admin, serve_element
from tests.support.token_issuer import Signer
from tests.support.waiting import until

CHUNK = 512 * 1024


class IngestUnderTest:
    """Everything a test of ingest touches."""

    def __init__(self, signer: Signer, registry: FakeRegistry, redis: Any) -> None:
        self.signer = signer
        self.registry = registry
        self.redis = redis
        self.server: MeshServer
        self.channel: grpc.aio.Channel
        self.stub: Any = None

    def bearer(self, **claims: Any) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.signer.token(**claims)}"),)

    async def announce(self, *elements: PlacedElement, listed: bool = True) -> None:
        """Have ingest see these elements as they are now: in Redis and in admin's list.

        Args:
            listed: False leaves the list as it is.
        """
        for element in elements:
            if listed and element not in self.registry.elements:
                self.registry.elements.append(element)
            await self.redis.set(REPORT_KEY_PREFIX + element.element_id, element.as_json(), ex=10)
            await self.redis.publish(REPORT_CHANNEL, element.element_id)
        await asyncio.sleep(0.15)

    async def upload(
        self,
        data: bytes = b"",
        *,
        metadata: tuple[tuple[str, str], ...] = (),
        finish: bool = True,
        wait_until_accepted: bool = True,
        **header: Any,
    ) -> Any:
        """Upload `data` as a well-behaved client does and return the File."""
        call = self.open(metadata=metadata, **header)
        await call.write(header_message(**header))
        if wait_until_accepted and not await call.initial_metadata():
            return (await call).file
        for offset in range(0, len(data), CHUNK):
            await call.write(chunk_message(offset, data[offset : offset + CHUNK]))
        if finish:
            await call.write(finish_message(len(data)))
        await call.done_writing()
        return (await call).file

    def open(self, *, metadata: tuple[tuple[str, str], ...] = (), **_: Any) -> Any:
        return self.stub.Upload(metadata=(*self.bearer(), *metadata), timeout=30)


def header_message(**fields: Any) -> Any:
    fields.setdefault("original_filename", "a.bin")
    return uploads_pb2.UploadRequest(header=uploads_pb2.UploadHeader(**fields))


def chunk_message(offset: int, data: bytes) -> Any:
    return uploads_pb2.UploadRequest(chunk=types_pb2.Chunk(offset=offset, data=data))


def finish_message(size_bytes: int) -> Any:
    return uploads_pb2.UploadRequest(finish=uploads_pb2.UploadFinish(size_bytes=size_bytes))


@pytest.fixture
def signer() -> Signer:
    return Signer()


@pytest.fixture
async def element(signer: Signer) -> AsyncIterator[Callable[..., Any]]:
    """Make and serve elements: `await element("se-01", mode="EDIT", priority=100)`."""
    made: list[PlacedElement] = []

    async def make(element_id: str, **settings: Any) -> PlacedElement:
        new = PlacedElement(element_id, **settings)
        await serve_element(new, signer)
        made.append(new)
        return new

    yield make
    await asyncio.gather(*(one.server.stop(drain_seconds=0.1) for one in made))


@asynccontextmanager
async def running_ingest(
    signer: Signer, redis_url: str, folder: Path, *, registry_down: bool = False, **settings: Any
) -> AsyncIterator[IngestUnderTest]:
    """A started ingest server with its fake admin, whose list refuses if `registry_down`."""
    async with AsyncExitStack() as stack:
        admin_endpoint, registry = await stack.enter_async_context(fake_admin(signer))
        registry.down = registry_down
        redis = open_redis(redis_url)
        stack.push_async_callback(redis.aclose)
        made = IngestUnderTest(signer, registry, redis)
        values = {
            "host": "localhost",
            "port": 0,
            "admin_endpoint": admin_endpoint,
            "redis_url": redis_url,
            "client_id": "ingest-server",
            "client_secret": "secret",
            "keys_path": folder / "jwks.json",
            "ingest_accept_seconds": 0.5,
        }
        made.server = await stack.enter_async_context(build(IngestSettings(**values | settings)))
        await made.server.start()
        stack.push_async_callback(made.server.stop, 0.3)
        made.channel = grpc.aio.insecure_channel(made.server.endpoint)
        stack.push_async_callback(made.channel.close)
        made.stub = ingest_pb2_grpc.IngestServiceStub(made.channel)
        await until((folder / "jwks.json").exists)
        yield made


@pytest.fixture
async def ingest(signer: Signer, redis_url: str, tmp_path: Path) -> AsyncIterator[IngestUnderTest]:
    async with running_ingest(signer, redis_url, tmp_path) as made:
        yield made
