"""Reflection with comments: `grpcurl describe` shows the contract as it is written.

The descriptors that generated code carries have no comments; `make gen` writes them beside the
stubs, comments included.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import grpc.aio
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_reflection.v1alpha import reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

from artstore.v1 import server_pb2

CONTRACT = "contract.binpb"


@cache
def _with_comments() -> Mapping[str, bytes]:
    """Name of each file of the contract -> its descriptor with comments."""
    data = Path(server_pb2.__file__).with_name(CONTRACT).read_bytes()
    return {file.name: file.SerializeToString() for file in FileDescriptorSet.FromString(data).file}


class CommentedReflection(ReflectionServicer):
    """Answers with the commented descriptor of each file of the contract."""

    async def ServerReflectionInfo(  # type: ignore[override]
        self, requests: Any, context: Any
    ) -> AsyncIterator[Any]:
        """Answer each request as the base class does, with comments."""
        answers: Any = super().ServerReflectionInfo(requests, context)
        async for answer in answers:
            yield _commented(answer)


def enable_reflection(services: Iterable[str], server: grpc.aio.Server) -> None:
    """Serve reflection of these services."""
    register: Any = reflection_pb2_grpc.add_ServerReflectionServicer_to_server
    register(CommentedReflection(services), server)


def _commented(answer: Any) -> Any:
    if answer.HasField("file_descriptor_response"):
        files = answer.file_descriptor_response.file_descriptor_proto
        for number, plain in enumerate(files):
            name = FileDescriptorProto.FromString(plain).name
            files[number] = _with_comments().get(name, plain)
    return answer
