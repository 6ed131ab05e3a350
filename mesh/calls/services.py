"""The services of the contract, as their descriptors say."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from artstore.v1 import (
    accounts_pb2,
    audit_pb2,
    backup_pb2,
    cache_pb2,
    drill_pb2,
    elements_pb2,
    ingest_pb2,
    lifecycle_pb2,
    operations_pb2,
    query_pb2,
    registry_pb2,
    server_pb2,
    storage_pb2,
    tokens_pb2,
    transfers_pb2,
)

_FILES = (
    accounts_pb2,
    audit_pb2,
    backup_pb2,
    cache_pb2,
    drill_pb2,
    elements_pb2,
    ingest_pb2,
    lifecycle_pb2,
    operations_pb2,
    query_pb2,
    registry_pb2,
    server_pb2,
    storage_pb2,
    tokens_pb2,
    transfers_pb2,
)
_REPEATABLE = frozenset({MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT})


@cache
def services() -> Mapping[str, ServiceDescriptor]:
    """Full name -> descriptor of every service."""
    return {
        service.full_name: service
        for file in _FILES
        for service in file.DESCRIPTOR.services_by_name.values()
    }


def is_repeatable(method: MethodDescriptor) -> bool:
    """Whether a channel may send the call again by itself.

    Its idempotency_level says that it does no harm; streams are left out, since a channel would
    have to keep and replay them.
    """
    stream = method.client_streaming or method.server_streaming
    return not stream and method.GetOptions().idempotency_level in _REPEATABLE


@cache
def repeatable() -> Mapping[str, tuple[str, ...]]:
    """Full name of a service -> its calls that a channel may send again."""
    found = {
        name: tuple(method.name for method in service.methods if is_repeatable(method))
        for name, service in services().items()
    }
    return {name: methods for name, methods in found.items() if methods}
