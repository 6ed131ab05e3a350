"""Servers in memory, on a real grpc.aio server, that fail when a test tells them to."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2_grpc

from artstore.v1 import (
    elements_pb2,
    elements_pb2_grpc,
    ingest_pb2_grpc,
    storage_pb2_grpc,
    tokens_pb2_grpc,
    uploads_pb2,
)
from artstore_client import Client
from mesh import errors
from tests.support.fake_element import ACCEPTED, FakeElement, Fault
from tests.support.token_issuer import TokenIssuer, refuse


class FakeIngest(ingest_pb2_grpc.IngestServiceServicer):
    """Puts everything on one element."""

    def __init__(self, element: FakeElement) -> None:
        self.element = element
        self.faults: list[Fault] = []
        self.headers: list[uploads_pb2.UploadHeader] = []
        self.chunks_before_acceptance = 0
        self.bytes_received = 0
        self.passed_on: list[str] = []
        self.accept = asyncio.Event()
        self.accept.set()

    async def Upload(self, request_iterator, context):
        fault = self.faults.pop(0) if self.faults else None
        self.headers.append((await context.read()).header)
        await self.element.tell()
        if fault is not None and fault.before_accepting:
            await self.element.fail(fault, context)
        if not self.accept.is_set():
            reading = asyncio.ensure_future(context.read())
            waiting = asyncio.ensure_future(self.accept.wait())
            await asyncio.wait([reading, waiting], return_when=asyncio.FIRST_COMPLETED)
            self.chunks_before_acceptance += reading.done()
            await context.send_initial_metadata(ACCEPTED)
            request = await reading
        else:
            await context.send_initial_metadata(ACCEPTED)
            request = await context.read()
        data = bytearray()
        finish = None
        failed = False
        while request is not grpc.aio.EOF:
            if request.HasField("finish"):
                finish = request.finish
            data += request.chunk.data
            self.bytes_received += len(request.chunk.data)
            failed = failed or (fault is not None and len(data) >= fault.after_bytes)
            if failed and fault is not None and fault.error is None:
                await self.element.fail(fault, context)
            request = await context.read()
        if failed and fault is not None:
            await self.element.fail(fault, context)
        if finish is None:
            await refuse(context, errors.Aborted("no finish"))
        assert finish is not None
        if finish.sha256 != hashlib.sha256(data).hexdigest():
            await refuse(context, errors.DataLoss("sha256 differs"))
        file = self.element.store(self.headers[-1], bytes(data))
        return uploads_pb2.UploadResponse(file=file, change_token="changed")

    async def StartUpload(self, request, context):
        answer = await self.element.StartUpload(request, context)
        self.headers.append(request.header)
        return answer


def _pass_on(verb: str) -> Any:
    """A method of ingest that the element serves: the messages are the same."""

    async def serve(self: FakeIngest, request: Any, context: Any) -> Any:
        self.passed_on.append(verb)
        return await getattr(self.element, verb)(request, context)

    return serve


for _verb in ("GetUpload", "WriteUpload", "CommitUpload", "AbortUpload"):
    setattr(FakeIngest, _verb, _pass_on(_verb))


class FakeElements(elements_pb2_grpc.StorageElementServiceServicer):
    """Lists the one element, where it is now."""

    def __init__(self) -> None:
        self.endpoint = ""

    async def ListStorageElements(self, request, context):
        listed = elements_pb2.StorageElement(
            storage_element_id="se-01", endpoint=self.endpoint, healthy=True
        )
        return elements_pb2.ListStorageElementsResponse(elements=[listed], total_size=1)


@dataclass
class FakeMesh:
    """Everything on one port, and where it is."""

    element: FakeElement
    ingest: FakeIngest
    tokens: TokenIssuer
    elements: FakeElements
    endpoint: str
    state_folder: Path
    stop: Callable[[], Any]
    restart: Callable[[], Any]

    def client(self, **options: Any) -> Client:
        known: dict[str, Any] = {
            "mesh_file": None,
            "admin": self.endpoint,
            "ingest": self.endpoint,
            "storage": {"se-01": self.endpoint},
            "client_id": "tester",
            "client_secret": "secret",
            "retry_for_seconds": 10.0,
            "idle_timeout_seconds": 5.0,
            "one_stream_bytes": 256 * 1024,
            "state_folder": self.state_folder,
        }
        return Client.connect(**(known | options))


@asynccontextmanager
async def fake_mesh(
    state_folder: Path, credentials: grpc.ServerCredentials | None = None
) -> AsyncIterator[FakeMesh]:
    """Serve the fakes on a free port, in plain text unless there are credentials."""
    element = FakeElement()
    ingest, tokens, elements = FakeIngest(element), TokenIssuer(), FakeElements()
    running: list[grpc.aio.Server] = []

    async def start(address: str) -> int:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.http2.bdp_probe", 0)])
        storage_pb2_grpc.add_StorageServiceServicer_to_server(element, server)
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(ingest, server)
        tokens_pb2_grpc.add_TokenServiceServicer_to_server(tokens, server)
        elements_pb2_grpc.add_StorageElementServiceServicer_to_server(elements, server)
        serving = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(serving, server)
        port = (
            server.add_insecure_port(address)
            if credentials is None
            else server.add_secure_port(address, credentials)
        )
        await server.start()
        running.append(server)
        return port

    async def stop() -> None:
        await running.pop().stop(None)

    endpoint = f"localhost:{await start('localhost:0')}"
    element.endpoint = elements.endpoint = endpoint
    try:
        yield FakeMesh(
            element,
            ingest,
            tokens,
            elements,
            endpoint,
            state_folder,
            stop,
            lambda: start(endpoint),
        )
    finally:
        for server in running:
            await server.stop(None)
