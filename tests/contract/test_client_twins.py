"""The client imports nothing of the mesh: what both must know stands twice, and is held equal."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import astuple
from typing import Any

import grpc
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import artstore_client.calls.services
import artstore_client.contract
import artstore_client.errors
import artstore_client.files.file_ids
import artstore_client.files.home
import artstore_client.targets
import mesh.calls.services
import mesh.calls.status
import mesh.contract
import mesh.elements.home
import mesh.errors
import mesh.file_ids
import mesh.targets


def constants(module: Any) -> dict[str, object]:
    return {name: value for name, value in vars(module).items() if name.isupper()}


def test_each_name_of_the_clients_contract_is_the_servers_and_has_their_value() -> None:
    known = constants(mesh.contract)
    told = constants(artstore_client.contract)
    assert told
    assert told == {name: known.get(name) for name in told}


def test_both_repeat_the_same_calls() -> None:
    mine = artstore_client.calls.services.repeatable_calls()
    servers = mesh.calls.services.repeatable()
    assert {name: methods for name, methods in mine.items() if methods} == servers
    assert mine.keys() == mesh.calls.services.services().keys()


def test_each_status_of_a_server_becomes_the_exception_of_the_same_name() -> None:
    for kind, rule in mesh.calls.status.TABLE.items():
        error = grpc.aio.AioRpcError(
            rule.code, grpc.aio.Metadata(), grpc.aio.Metadata(), details="told"
        )
        assert type(artstore_client.errors.from_rpc_error(error)).__name__ == kind.__name__
    assert mesh.errors.StoreReadOnly.default_reason == artstore_client.errors.STORE_READ_ONLY


def answer(function: Callable[[str], str], text: str) -> str:
    try:
        return function(text)
    except ValueError as error:
        return f"ValueError: {error}"


hosts = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map("[{}]".format),
    st.ip_addresses(v=6).map(str),
    st.sampled_from(["admin", "localhost", "", "dns", "user@10.0.0.1", "[10.0.0.1]", "٠.0.0.1"]),
)
ports = st.one_of(
    st.integers(-1, 70_000).map(":{}".format), st.sampled_from(["", ":", ":x", ":٣", ":80/x"])
)
places = st.builds("{}{}".format, hosts, ports)
endpoints = st.one_of(
    st.text(),
    st.lists(places, min_size=1, max_size=4).map(",".join),
    st.lists(places, min_size=1, max_size=3).map(" , ".join),
    st.builds("{}:{}".format, st.sampled_from(["dns", "ipv4", "ipv6", "unix", "xds"]), places),
)


@settings(deadline=None)
@given(endpoint=endpoints)
@example(endpoint="10.0.0.1:8000,10.0.0.2:8001")
@example(endpoint="10.0.0.1:8000,[fd00::1]:8000")
def test_both_read_an_endpoint_alike(endpoint: str) -> None:
    assert answer(artstore_client.targets.target_of, endpoint) == answer(
        mesh.targets.target_of, endpoint
    )


written = st.one_of(
    st.text(),
    st.uuids().map(str),
    st.builds(
        lambda value, form, upper, cut: form.format(str(value).upper() if upper else value.hex)[
            cut:
        ],
        st.uuids(),
        st.sampled_from(["{0}", "{{{0}}}", "urn:uuid:{0}", " {0}\n", "{{{0}", "{0}}}", "{0}0"]),
        st.booleans(),
        st.integers(0, 2),
    ),
)


@settings(deadline=None)
@given(text=written)
def test_both_understand_an_id_alike(text: str) -> None:
    assert artstore_client.files.file_ids.canonical_file_id(
        text
    ) == mesh.file_ids.canonical_file_id(text)


@pytest.mark.parametrize("form", ["{0}", "{{{0}}}", "urn:uuid:{0}"])
def test_an_id_is_understood_by_both_in_each_form(form: str) -> None:
    value = uuid.uuid4()
    for module in (artstore_client.files.file_ids, mesh.file_ids):
        assert module.canonical_file_id(form.format(value)) == str(value)


told = st.tuples(
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(["active", "copy", "incoming", "moved", "deleted", "gone", "erased"]),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from(["", "a", "b"]),
)


def decided(module: Any, replicas: list[tuple[Any, ...]], asked: dict[str, int]) -> Any:
    known = [module.Replica(*one) for one in replicas]
    home = module.home(known)
    return (
        home and astuple(home),
        module.has_ended(known),
        [astuple(one) for one in module.in_reading_order(known)],
        [module.follow(one, asked) for one in known],
    )


@settings(deadline=None)
@given(
    replicas=st.lists(told, max_size=3, unique_by=lambda one: one[0]),
    asked=st.dictionaries(st.sampled_from(["a", "b"]), st.integers(-1, 3)),
)
def test_both_find_the_same_home(replicas: list[tuple[Any, ...]], asked: dict[str, int]) -> None:
    assert decided(artstore_client.files.home, replicas, asked) == decided(
        mesh.elements.home, replicas, asked
    )
