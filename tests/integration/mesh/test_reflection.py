"""Reflection tells of the contract as it is written, comments included."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from mesh.calls.services import services
from mesh.server.reflection import enable_reflection


@pytest.fixture
async def stub() -> AsyncIterator[Any]:
    server = grpc.aio.server()
    enable_reflection([*services(), "grpc.reflection.v1alpha.ServerReflection"], server)
    port = server.add_insecure_port("localhost:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"localhost:{port}") as channel:
        yield reflection_pb2_grpc.ServerReflectionStub(channel)
    await server.stop(None)


async def test_every_service_call_and_field_comes_with_its_comment(stub: Any) -> None:
    asked = [
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in services()
    ]
    files: dict[str, FileDescriptorProto] = {}
    async for answer in stub.ServerReflectionInfo(iter(asked)):
        for serialized in answer.file_descriptor_response.file_descriptor_proto:
            file = FileDescriptorProto.FromString(serialized)
            files[file.name] = file
    ours = {name: file for name, file in files.items() if name.startswith("artstore/")}
    assert len(ours) >= len({service.file.name for service in services().values()})
    for name, file in ours.items():
        told = {tuple(one.path): one.leading_comments for one in file.source_code_info.location}
        paths = [
            *(
                (4, m, 2, f)
                for m, one in enumerate(file.message_type)
                for f in range(len(one.field))
            ),
            *((6, s, 2, r) for s, one in enumerate(file.service) for r in range(len(one.method))),
        ]
        assert all(told.get(path) for path in paths), name


async def test_what_is_not_of_the_contract_is_described_as_before(stub: Any) -> None:
    request = reflection_pb2.ServerReflectionRequest(
        file_containing_symbol="grpc.reflection.v1alpha.ServerReflection"
    )
    unknown = reflection_pb2.ServerReflectionRequest(file_containing_symbol="no.such.Thing")
    found, missing = [one async for one in stub.ServerReflectionInfo(iter([request, unknown]))]
    assert found.file_descriptor_response.file_descriptor_proto
    assert missing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
