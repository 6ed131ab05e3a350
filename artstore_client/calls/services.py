"""Which calls may be sent twice without harm, as the contract says."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

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
def repeatable_calls() -> Mapping[str, tuple[str, ...]]:
    """Full name of a service -> its unary calls that a channel may repeat by itself.

    What to do after a stream has failed is decided by this library, not by the channel.
    """
    return {
        service.full_name: tuple(
            method.name
            for method in service.methods
            if not (method.client_streaming or method.server_streaming)
            and method.GetOptions().idempotency_level in _REPEATABLE
        )
        for file in _FILES
        for service in file.DESCRIPTOR.services_by_name.values()
    }
