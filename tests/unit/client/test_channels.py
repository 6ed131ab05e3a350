"""The options of channels, against the contract."""

from __future__ import annotations

import json

from artstore.v1 import admin_pb2, cache_pb2, ingest_pb2, query_pb2, storage_pb2
from artstore_client.channels import IDEMPOTENT_CALLS, channel_options, service_config

CHANGING = {"StartUpload", "AbortUpload", "UpdateFile", "DeleteFile", "UndeleteFile", "SetMode"}


def test_only_unary_calls_of_the_contract_that_change_nothing_new_are_repeated() -> None:
    services = {
        service.full_name: service
        for module in (admin_pb2, cache_pb2, ingest_pb2, query_pb2, storage_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
    }
    for service, methods in IDEMPOTENT_CALLS.items():
        for name in methods:
            method = services[service].methods_by_name[name]
            assert not method.client_streaming
            assert not method.server_streaming
            assert name not in CHANGING


def test_health_is_asked_for_with_a_policy_that_heeds_it() -> None:
    config = json.loads(service_config())
    assert config["loadBalancingConfig"] == [{"round_robin": {}}]
    assert config["healthCheckConfig"] == {"serviceName": ""}


def test_probing_that_reads_megabytes_ahead_is_off() -> None:
    options = dict(channel_options())
    assert options["grpc.http2.bdp_probe"] == 0
    assert options["grpc.keepalive_time_ms"] >= 10_000
