"""Small storage elements and an admin that do what a test tells them to, on real servers."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import jwt
from google.protobuf import json_format

from artstore.v1 import (
    elements_pb2,
    elements_pb2_grpc,
    lifecycle_pb2,
    lifecycle_pb2_grpc,
    storage_pb2_grpc,
    tokens_pb2_grpc,
    types_pb2,
    uploads_pb2,
)
from mesh.errors import ArtStoreError, Unavailable
from mesh.identity.caller import current_caller, current_request_id, current_upload_token
from mesh.identity.tokens import KeySet, TokenVerifier
from mesh.server.server import MeshServer
from mesh.settings import MeshSettings
from tests.support.fake_element import ACCEPTED, FakeElement
from tests.support.token_issuer import Signer, TokenIssuer, bearer_of

GIB = 2**30


class PlacedElement(FakeElement):
    """An element as ingest meets it: with a report, and streams that go wrong.

    Set before a call: `refuses` (an error instead of accepting), `silent` (never accepts),
    `flow` (cleared: takes no message), `fails_after` (messages, error), `hangs_after_finish`.
    Look at afterwards: `headers`, `callers`, `peers`, `files`, `cut`.
    """

    def __init__(self, element_id: str, *, mode: str = "EDIT", priority: int = 100) -> None:
        super().__init__(element_id)
        self.upload_token, self.change_token, self.strict = "secret", "2", False
        self.report = elements_pb2.StorageElementReport(
            storage_element_id=element_id,
            store_id=f"store of {element_id}",
            mode=types_pb2.ElementMode.Value(f"ELEMENT_MODE_{mode}"),
            priority=priority,
            capacity_bytes=100 * GIB,
            fill_level=types_pb2.FILL_LEVEL_OK,
            writable=True,
            is_writer=True,
        )
        self.server: Any = None
        self.refuses: ArtStoreError | None = None
        self.silent = False
        self.clock_ahead_seconds = 0
        self.admin_hears = True
        self.flow = asyncio.Event()
        self.flow.set()
        self.fails_after: tuple[int, ArtStoreError] | None = None
        self.hangs_after_finish = False
        self.entered = asyncio.Event()
        self.finished = asyncio.Event()
        self.left = asyncio.Event()
        self.headers: list[uploads_pb2.UploadHeader] = []
        self.callers: list[str] = []
        self.peers: list[str] = []
        self.upload_tokens: list[str] = []
        self.request_ids: list[str] = []
        self.taken_bytes = 0
        self.cut = 0

    @property
    def sessions(self) -> dict[str, bytearray]:
        """What came of each open upload."""
        return {upload_id: upload.data for upload_id, upload in self.uploads.items()}

    def as_json(self) -> str:
        """The report as an element writes it to Redis."""
        self.report.reported_at.GetCurrentTime()
        self.report.reported_at.seconds += self.clock_ahead_seconds
        return json_format.MessageToJson(self.report, preserving_proto_field_name=True)

    def listed(self) -> elements_pb2.StorageElement:
        """The element as admin lists it."""
        said = {field.name: value for field, value in self.report.ListFields()}
        return elements_pb2.StorageElement(**said, healthy=self.admin_hears)

    async def Upload(self, request_iterator: Any, context: Any) -> Any:
        messages = aiter(request_iterator)
        header = (await anext(messages)).header
        self._see(context, header)
        try:
            known = [f for f, _ in self.files.values() if f.request_id == header.request_id]
            if header.request_id and known:
                return uploads_pb2.UploadResponse(file=known[0])
            await self._accept_or_refuse()
            await context.send_initial_metadata(ACCEPTED)
            return await self._take(header, messages)
        finally:
            self.left.set()

    async def _take(self, header: uploads_pb2.UploadHeader, messages: Any) -> Any:
        data = bytearray()
        count = 0
        while True:
            await self.flow.wait()
            message = await anext(messages, None)
            if message is None:
                self.cut += 1
                raise Unavailable("the stream ended without finish")
            count += 1
            if self.fails_after is not None and count > self.fails_after[0]:
                raise self.fails_after[1]
            if message.WhichOneof("payload") == "finish":
                self.finished.set()
                if self.hangs_after_finish:
                    await asyncio.Event().wait()
                return uploads_pb2.UploadResponse(
                    file=self.store(header, bytes(data)), change_token="1"
                )
            data += message.chunk.data
            self.taken_bytes += len(message.chunk.data)

    async def StartUpload(self, request: Any, context: Any) -> Any:
        self.headers.append(request.header)
        self.endpoint = self.endpoint or self.report.endpoint
        return await super().StartUpload(request, context)

    async def note(self, call: str, context: Any) -> None:
        self._see(context)
        await super().note(call, context)
        if call == "StartUpload":
            await self._accept_or_refuse()

    def new_file_id(self) -> str:
        return secrets.token_hex(8)

    def store(self, header: uploads_pb2.UploadHeader, data: bytes) -> types_pb2.File:
        file = super().store(header, data)
        file.created_by = current_caller().subject
        return file

    async def _accept_or_refuse(self) -> None:
        if self.silent:
            await asyncio.Event().wait()
        if self.refuses is not None:
            raise self.refuses

    def _see(self, context: Any, header: uploads_pb2.UploadHeader | None = None) -> None:
        if header is not None:
            self.headers.append(header)
        self.callers.append(current_caller().subject)
        self.peers.append(
            jwt.decode(bearer_of(context), options={"verify_signature": False})["sub"]
        )
        self.upload_tokens.append(current_upload_token())
        self.request_ids.append(dict(context.invocation_metadata()).get("x-request-id", ""))
        self.entered.set()


class FakeRegistry(elements_pb2_grpc.StorageElementServiceServicer):
    """Lists the elements of a test. `down` has it refuse, `silent` never answer."""

    def __init__(self) -> None:
        self.elements: list[PlacedElement] = []
        self.lifecycle = FakeLifecycle()
        self.down = False
        self.silent = False

    async def ListStorageElements(self, request: Any, context: Any) -> Any:
        if self.down:
            raise Unavailable("the registry is down")
        if self.silent:
            await asyncio.Event().wait()
        reports = []
        for element in self.elements:
            element.report.reported_at.GetCurrentTime()
            reports.append(element.listed())
        return elements_pb2.ListStorageElementsResponse(elements=reports)


class FakeLifecycle(lifecycle_pb2_grpc.LifecycleServiceServicer):
    """Answers what a test says, and keeps what it was asked, and on whose behalf."""

    def __init__(self) -> None:
        self.transfer = lifecycle_pb2.Transfer(transfer_id="t-1", file_id="x")
        self.refuses: ArtStoreError | None = None
        self.asked: list[tuple[Any, str, str]] = []

    async def MoveFile(self, request: Any, context: Any) -> Any:
        self._note(request)
        return lifecycle_pb2.MoveFileResponse(transfer=self.transfer)

    async def GetTransfer(self, request: Any, context: Any) -> Any:
        self._note(request)
        return lifecycle_pb2.GetTransferResponse(transfer=self.transfer)

    def _note(self, request: Any) -> None:
        self.asked.append((request, current_caller().subject, current_request_id.get()))
        if self.refuses is not None:
            raise self.refuses


@asynccontextmanager
async def fake_admin(signer: Signer) -> AsyncIterator[tuple[str, FakeRegistry]]:
    """An admin on a free port; yields its endpoint and its list of elements."""
    registry = FakeRegistry()
    server = _server(signer, "admin")
    server.add(
        "artstore.v1.TokenService",
        tokens_pb2_grpc.add_TokenServiceServicer_to_server,
        TokenIssuer(signer),
    )
    server.add(
        "artstore.v1.StorageElementService",
        elements_pb2_grpc.add_StorageElementServiceServicer_to_server,
        registry,
    )
    server.add(
        "artstore.v1.LifecycleService",
        lifecycle_pb2_grpc.add_LifecycleServiceServicer_to_server,
        registry.lifecycle,
    )
    await server.start()
    try:
        yield server.endpoint, registry
    finally:
        await server.stop(drain_seconds=0.1)


async def serve_element(element: PlacedElement, signer: Signer) -> None:
    """Start the element on a free port and write its address into its report."""
    server = _server(signer, element.element_id, element_id=element.element_id)
    server.add(
        "artstore.v1.StorageService",
        storage_pb2_grpc.add_StorageServiceServicer_to_server,
        element,
    )
    await server.start()
    element.server = server
    element.report.endpoint = server.endpoint


def _server(signer: Signer, name: str, *, element_id: str = "") -> MeshServer:
    keys = KeySet()
    keys.replace(signer.jwks())
    verifier = TokenVerifier(keys, element_id=element_id)
    return MeshServer(MeshSettings(host="localhost"), verifier, name=name)


async def status_of(call: Any) -> grpc.aio.AioRpcError:
    """The error that a call ends with."""
    try:
        await call
    except grpc.aio.AioRpcError as exc:
        return exc
    raise AssertionError("the call succeeded")
