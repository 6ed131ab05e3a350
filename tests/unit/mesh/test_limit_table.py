"""The table of limits: what it holds by default, how it is changed, and what makes no sense."""

from __future__ import annotations

import json
from dataclasses import asdict, fields

import pytest
from google.protobuf.descriptor import Descriptor
from hypothesis import given
from hypothesis import strategies as st

from artstore.v1 import query_pb2, storage_pb2, types_pb2, uploads_pb2
from mesh.calls.services import services
from mesh.errors import ResourceExhausted
from mesh.identity.call_limits import BATCHES, LimitTable, MethodLimits, ServerLimits
from mesh.identity.caller import Role
from mesh.identity.roles import WHO_MAY
from mesh.server.interceptors.admission import address_of
from mesh.server.interceptors.lists import check_of
from mesh.settings import SettingsError

CHUNKS = {
    "/artstore.v1.StorageService/Upload",
    "/artstore.v1.StorageService/WriteUpload",
    "/artstore.v1.IngestService/Upload",
    "/artstore.v1.IngestService/WriteUpload",
}
WHOLE = st.integers(min_value=1, max_value=2**31 - 1)
VALUES = {
    field.name: WHOLE if isinstance(field.default, int) else st.floats(0.01, 1e6)
    for field in fields(MethodLimits)
}
CHANGES = st.dictionaries(
    st.sampled_from(["*", *sorted(WHO_MAY)]),
    st.fixed_dictionaries({}, optional=VALUES),  # type: ignore[arg-type]
    max_size=5,
)


def test_a_chunk_has_room_a_login_has_little_and_the_rest_64_kib() -> None:
    table = LimitTable()
    for method in CHUNKS:
        assert table.of(method).request_bytes == 2 * 2**20 + 64 * 1024
    assert table.of("/artstore.v1.TokenService/IssueToken").request_bytes == 4096
    assert table.of("/artstore.v1.StorageService/GetFile").request_bytes == 65536
    assert table.of("/of.nobody/Knows") == MethodLimits()


def test_two_hundred_side_by_side_have_room_in_every_call_that_users_make() -> None:
    for method, limits in LimitTable().methods.items():
        if Role.USER in WHO_MAY[method]:
            assert limits.calls_per_caller > 200, method
        assert limits.calls >= 2 * limits.calls_per_caller, method


@given(CHANGES)
def test_what_is_given_holds_and_all_else_is_as_it_was(
    changes: dict[str, dict[str, float]],
) -> None:
    before, after = LimitTable(), LimitTable(json.dumps(changes))
    for method in WHO_MAY:
        expected = asdict(before.of(method)) | changes.get("*", {}) | changes.get(method, {})
        assert asdict(after.of(method)) == expected
    assert after.server == before.server


@given(CHANGES)
def test_a_table_is_made_again_of_what_is_shown_of_it(
    changes: dict[str, dict[str, float]],
) -> None:
    table = LimitTable(json.dumps(changes))
    again = LimitTable(json.dumps(table.shown()))
    assert (again.methods, again.other, again.server) == (table.methods, table.other, table.server)


def test_limits_of_the_server_are_changed_by_their_name() -> None:
    table = LimitTable('{"server": {"calls": 5, "handshake_seconds": 1.5}}')
    assert table.server == ServerLimits(calls=5, handshake_seconds=1.5)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ("{", "not JSON"),
        ("[]", "not an object"),
        ('{"artstore.v1.StorageService/Nothing": {}}', "no method"),
        ('{"*": 5}', "needs an object"),
        ('{"*": {"calls_per_planet": 5}}', "has no limit 'calls_per_planet'"),
        ('{"*": {"calls": 0}}', "not a whole number above 0"),
        ('{"*": {"calls": 1.5}}', "not a whole number above 0"),
        ('{"*": {"calls": true}}', "not a whole number above 0"),
        ('{"*": {"silence_seconds": NaN}}', "not a number above 0"),
        ('{"*": {"silence_seconds": "5"}}', "not a number above 0"),
    ],
)
def test_what_makes_no_sense_is_named(changes: str, told: str) -> None:
    with pytest.raises(SettingsError, match=f"ARTSTORE_LIMITS: .*{told}"):
        LimitTable(changes)


def fields_of(descriptor: Descriptor, seen: set[str]) -> set[str]:
    if descriptor.full_name in seen:
        return set()
    seen.add(descriptor.full_name)
    found = {field.full_name for field in descriptor.fields if field.is_repeated}
    return found.union(
        *(fields_of(field.message_type, seen) for field in descriptor.fields if field.message_type)
    )


def test_batches_are_lists_of_requests() -> None:
    lists = {
        name
        for service in services().values()
        for method in service.methods
        for name in fields_of(method.input_type, set())
    }
    assert lists >= BATCHES


def test_lists_are_looked_at_wherever_they_are() -> None:
    check = check_of(query_pb2.SearchFilesRequest.DESCRIPTOR)
    assert check is not None
    limits = MethodLimits(list_items=2, batch_items=3)
    fits = query_pb2.SearchFilesRequest(min_change_tokens=["t"] * 3)
    fits.filters.tags.extend(["a", "b"])
    check(fits, limits)
    fits.filters.attributes.update({"a": "1", "b": "2", "c": "3"})
    with pytest.raises(ResourceExhausted, match="attributes has at most 2 entries"):
        check(fits, limits)
    tokens = query_pb2.SearchFilesRequest(min_change_tokens=["t"] * 4)
    with pytest.raises(ResourceExhausted, match="min_change_tokens has at most 3 entries"):
        check(tokens, limits)


def test_a_header_has_as_many_tags_as_its_bytes_hold() -> None:
    check = check_of(uploads_pb2.UploadRequest.DESCRIPTOR)
    assert check is not None
    header = uploads_pb2.UploadHeader(tags=["t"] * 1000)
    check(uploads_pb2.UploadRequest(header=header), MethodLimits())
    check(uploads_pb2.UploadRequest(chunk=types_pb2.Chunk(data=b"x")), MethodLimits())


def test_a_request_without_lists_is_not_looked_through() -> None:
    assert check_of(storage_pb2.StorageServiceGetFileRequest.DESCRIPTOR) is None


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:10.1.2.3:4711", "10.1.2.3"),
        ("ipv6:%5B::1%5D:4711", "::"),
        ("ipv6:[2001:db8:1:2:3:4:5:6]:4711", "2001:db8:1:2::"),
        ("ipv6:%5B2001:db8:1:2:ffff::9%5D:80", "2001:db8:1:2::"),
        ("ipv6:%5Bfe80::1%25eth0%5D:80", "fe80::"),
        ("ipv6:[::ffff:10.1.2.3]:4711", "10.1.2.3"),
        ("unix:/run/artstore.sock", "unix"),
        ("unix:", "unix"),
    ],
)
def test_an_address_is_a_host_or_a_network_of_ipv6(peer: str, address: str) -> None:
    assert address_of(peer) == address
