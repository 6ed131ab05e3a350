"""The options of channels, against the contract."""

from __future__ import annotations

import json

import pytest

from artstore_client.calls.channels import QUICK, Channels, channel_options, service_config
from artstore_client.calls.proxies import proxy_of
from artstore_client.calls.services import repeatable_calls
from mesh.calls.services import repeatable, services

CHANGING = {"StartUpload", "UpdateFile", "DeleteFile", "UndeleteFile", "RebuildCache", "SyncIndex"}


def test_only_unary_calls_of_the_contract_that_change_nothing_new_are_repeated() -> None:
    for service, methods in repeatable_calls().items():
        for name in methods:
            method = services()[service].methods_by_name[name]
            assert not method.client_streaming
            assert not method.server_streaming
            assert name not in CHANGING


def test_client_and_servers_repeat_the_same_calls() -> None:
    assert repeatable_calls().keys() == services().keys()
    for service, methods in repeatable_calls().items():
        assert methods == repeatable().get(service, ())


def test_health_is_asked_for_with_a_policy_that_heeds_it() -> None:
    config = json.loads(service_config())
    assert config["loadBalancingConfig"] == [{"round_robin": {}}]
    assert config["healthCheckConfig"] == {"serviceName": ""}


def test_probing_that_reads_megabytes_ahead_is_off() -> None:
    options = dict(channel_options("se-01:8010"))
    assert options["grpc.http2.bdp_probe"] == 0
    assert options["grpc.keepalive_time_ms"] >= 10_000


async def test_uploads_to_an_address_that_is_also_asked_keep_their_patience() -> None:
    channels = Channels()
    try:
        asked = channels.to("mesh.example:443", QUICK)
        assert channels.to("mesh.example:443") is not asked
        assert channels.to("mesh.example:443") is channels.to("mesh.example:443")
        assert channels.to("mesh.example:443", QUICK) is asked
    finally:
        await channels.close()


@pytest.mark.parametrize(
    "endpoint",
    [
        "127.0.0.1:8010",
        "localhost:8010",
        "[::1]:8010",
        "dns:///localhost:1",
        "ipv4:127.0.0.1:1",
        "0.0.0.0:8010",
        "[::]:8010",
    ],
)
def test_no_proxy_leads_to_this_machine(endpoint: str) -> None:
    assert dict(channel_options(endpoint))["grpc.enable_http_proxy"] == 0
    assert proxy_of(endpoint, {"http_proxy": "http://proxy:3128"}) == ""


def test_servers_elsewhere_are_reached_by_the_proxy_of_the_environment() -> None:
    assert dict(channel_options("se-01.example.com:8010"))["grpc.enable_http_proxy"] == 1


def test_a_list_of_addresses_is_reached_without_a_proxy_which_would_take_it_for_one_host() -> None:
    endpoint = "10.1.2.3:8020,10.1.2.4:8020"
    assert dict(channel_options(endpoint))["grpc.enable_http_proxy"] == 0
    assert proxy_of(endpoint, {"http_proxy": "http://proxy:3128"}) == ""


def test_a_name_of_several_servers_is_reached_by_the_proxy() -> None:
    assert proxy_of("dns:///mesh.example.com:8020", {"http_proxy": "http://p:1"}) != ""
    excepted = {"http_proxy": "http://p:1", "no_proxy": "example.com"}
    assert proxy_of("dns:///mesh.example.com:8020", excepted) == ""


@pytest.mark.parametrize(
    ("variables", "proxy"),
    [
        ({}, ""),
        ({"http_proxy": ""}, ""),
        ({"http_proxy": "http://proxy:3128"}, "http://proxy:3128 (http_proxy)"),
        ({"http_proxy": "http://a", "grpc_proxy": "http://b:1"}, "http://b:1 (grpc_proxy)"),
        ({"https_proxy": "http://me:s3cret@[fd00::1]:80/x"}, "http://[fd00::1]:80 (https_proxy)"),
        ({"http_proxy": "me:s3cret@proxy:3128"}, "http://proxy:3128 (http_proxy)"),
        ({"http_proxy": "http://p:port"}, "of http_proxy, which is no URL"),
        ({"HTTP_PROXY": "http://proxy:3128"}, ""),
        ({"http_proxy": "http://p", "no_proxy": "x, example.com"}, ""),
        ({"http_proxy": "http://p", "no_proxy": "10.0.0.0/8"}, "http://p (http_proxy)"),
        ({"http_proxy": "http://p", "no_proxy": "x", "no_grpc_proxy": "example.com"}, ""),
    ],
)
def test_proxy_is_named_as_grpc_takes_it_and_without_secrets(
    variables: dict[str, str], proxy: str
) -> None:
    assert proxy_of("se-01.example.com:8010", variables) == proxy


def test_networks_may_be_excepted_from_the_proxy() -> None:
    variables = {"http_proxy": "http://p", "no_proxy": "10.0.0.0/8"}
    assert proxy_of("10.1.2.3:8010", variables) == ""
    assert proxy_of("11.1.2.3:8010", variables) != ""
