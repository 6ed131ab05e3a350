"""Endpoints of one server and of several, as servers and clients read them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import artstore_client.targets
import mesh.targets

Read = Callable[[str], str]


@pytest.fixture(params=[mesh.targets.target_of, artstore_client.targets.target_of])
def target_of(request: pytest.FixtureRequest) -> Read:
    read: Read = request.param
    return read


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "admin:8000",
        "127.0.0.1:8000",
        "[::1]:8000",
        "dns:///admin.mesh:8000",
        "ipv4:10.0.0.1:8000,10.0.0.2:8000",
        "unix:/run/admin.sock",
    ],
)
def test_one_server_and_grpcs_own_targets_stay_as_they_are(target_of: Read, endpoint: str) -> None:
    assert target_of(endpoint) == endpoint


def test_a_list_of_addresses_is_several_servers(target_of: Read) -> None:
    assert target_of("10.0.0.1:8000, 10.0.0.2:8001") == "ipv4:10.0.0.1:8000,10.0.0.2:8001"
    assert target_of("[fd00::1]:8000,[fd00::2]:8000") == "ipv6:[fd00::1]:8000,[fd00::2]:8000"


@pytest.mark.parametrize(
    ("endpoint", "told"),
    [
        ("admin-1:8000,admin-2:8000", "'admin-1:8000' is no address with a port: .*dns:///"),
        ("10.0.0.1,10.0.0.2:8000", "'10.0.0.1' is no address with a port"),
        ("10.0.0.1:8000,", "'' is no address"),
        ("10.0.0.1:8000,[::1]:8000", "mixes addresses"),
        ("user@10.0.0.1:8000,10.0.0.2:8000", "'user@10.0.0.1:8000' is no address with a port"),
        ("10.0.0.1:8000/x,10.0.0.2:8000", "'10.0.0.1:8000/x' is no address with a port"),
        ("10.0.0.1:8000?x,10.0.0.2:8000", "is no address with a port"),
        ("10.0.0.1:8000,http://10.0.0.2:8000", "'http://10.0.0.2:8000' is no address"),
        ("10.0.0.1:0,10.0.0.2:8000", "'10.0.0.1:0' is no address with a port"),
        ("10.0.0.1:65536,10.0.0.2:8000", "'10.0.0.1:65536' is no address with a port"),
        ("10.0.0.1:+80,10.0.0.2:8000", "is no address with a port"),
        ("[fd00::1]x:8000,[fd00::2]:8000", "is no address with a port"),
        ("fd00::1:8000,[fd00::2]:8000", "'fd00::1:8000' is no address with a port"),
        ("[10.0.0.1]:8000,10.0.0.2:8000", "is no address with a port"),
    ],
)
def test_what_is_no_such_list_is_named(target_of: Read, endpoint: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        target_of(endpoint)
