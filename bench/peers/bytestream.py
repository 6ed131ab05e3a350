"""Messages of google.bytestream, which BuildGrid speaks, made without generated code."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

WRITE = "/google.bytestream.ByteStream/Write"

_FIELD = descriptor_pb2.FieldDescriptorProto


def _messages() -> tuple[Any, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="bench/bytestream.proto", package="artstore.bench.bytestream", syntax="proto3"
    )
    request = file.message_type.add(name="WriteRequest")
    for name, number, kind in (
        ("resource_name", 1, _FIELD.TYPE_STRING),
        ("write_offset", 2, _FIELD.TYPE_INT64),
        ("finish_write", 3, _FIELD.TYPE_BOOL),
        ("data", 10, _FIELD.TYPE_BYTES),
    ):
        request.field.add(name=name, number=number, type=kind, label=_FIELD.LABEL_OPTIONAL)
    response = file.message_type.add(name="WriteResponse")
    response.field.add(
        name="committed_size", number=1, type=_FIELD.TYPE_INT64, label=_FIELD.LABEL_OPTIONAL
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return (
        message_factory.GetMessageClass(
            pool.FindMessageTypeByName("artstore.bench.bytestream.WriteRequest")
        ),
        message_factory.GetMessageClass(
            pool.FindMessageTypeByName("artstore.bench.bytestream.WriteResponse")
        ),
    )


WriteRequest, WriteResponse = _messages()
