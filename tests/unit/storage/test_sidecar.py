"""The codec: nothing is lost, and nothing wrong gets in."""

from __future__ import annotations

import hashlib
import json
import string
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import FailedPrecondition, InvalidArgument
from storage_server.domain.sidecar import (
    MAX_CREATED_BY_BYTES,
    MAX_SIDECAR_BYTES,
    FileState,
    InvalidSidecar,
    RetentionPolicy,
    Sidecar,
    decode,
    decode_with_digest,
    digest,
    encode,
)
from storage_server.domain.user_part import check_user_part
from tests.support.sidecars import AT, a_sidecar, any_sidecar


@given(any_sidecar)
def test_what_is_written_is_read_back(sidecar: Sidecar) -> None:
    encoded = encode(sidecar)
    assert decode(encoded) == sidecar
    assert encode(decode(encoded)) == encoded


@given(any_sidecar)
def test_a_digest_is_that_of_the_fields_not_of_their_order(sidecar: Sidecar) -> None:
    reordered = replace(sidecar, attributes=dict(reversed(sidecar.attributes.items())))
    assert digest(reordered) == digest(sidecar)
    assert len(digest(sidecar)) == 16


@given(any_sidecar)
def test_bytes_as_they_were_written_are_their_own_digest(sidecar: Sidecar) -> None:
    encoded = encode(sidecar)
    assert decode_with_digest(encoded) == (sidecar, digest(sidecar))
    if not sidecar.unknown:
        assert digest(sidecar) == hashlib.blake2b(encoded, digest_size=16).digest()


NEW: dict[str, Any] = {
    "home_since": 1_767_323_045_678,
    "moved_to": "se-02",
    "copies": 2,
    "updated_by": "bob",
    "deleted_at": AT,
}
"""Fields that sidecars of earlier versions lack."""


@pytest.mark.parametrize("new", [{}, *({name: value} for name, value in NEW.items()), NEW])
def test_bytes_as_they_were_written_are_not_encoded_again(
    new: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sidecar = a_sidecar(tags=("a",), attributes={"b": "1", "c": "2"}, **new)
    expected = (sidecar, digest(sidecar))
    encoded = encode(sidecar)
    monkeypatch.delattr("storage_server.domain.sidecar._canonical")
    assert decode_with_digest(encoded) == expected


# Whoever edits a sidecar by hand writes the same in another way.
OTHER_WAYS = {
    "order": lambda members: dict(reversed(members.items())),
    "nulls": lambda members: members | {"content_type": None, "updated_at": None, "tags": None},
    "times": lambda members: members | {"updated_at": "2026-01-02T04:04:05.678+01:00"},
    "week": lambda members: members | {"created_at": "2026-W01-5T03:04:05.678000Z"},
    "attributes": lambda members: members | {"attributes": {"b": "1", "a": "2"}},
    "left out": lambda members: {n: v for n, v in members.items() if n != "legal_hold"},
    "more": lambda members: members | {"x": 1},
    "new ones": lambda members: members | {"home_since": None, "moved_to": "", "copies": None},
    "new ones in another order": lambda members: members | {"updated_by": "bob", "copies": 2},
    "new ones first": lambda members: {"moved_to": "se-02"} | members,
    "a new time": lambda members: members | {"deleted_at": "2026-01-02T04:04:05+01:00"},
}


@pytest.mark.parametrize("way", OTHER_WAYS)
def test_bytes_that_say_it_in_another_way_have_the_digest_of_the_fields(way: str) -> None:
    members = OTHER_WAYS[way](json.loads(encode(a_sidecar())))
    for separators in ((",", ":"), (", ", ": ")):
        data = json.dumps(members, separators=separators).encode()
        sidecar, found = decode_with_digest(data)
        assert found == digest(sidecar) == digest(decode(encode(sidecar)))


@given(any_sidecar, st.data())
def test_a_digest_never_depends_on_how_it_was_found(sidecar: Sidecar, data: st.DataObject) -> None:
    encoded = bytearray(encode(sidecar))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    with suppress(InvalidSidecar):
        found, found_digest = decode_with_digest(bytes(encoded))
        assert found_digest == digest(found)


@pytest.mark.parametrize("name", sorted(Sidecar.__dataclass_fields__))
def test_any_changed_field_changes_the_digest(name: str) -> None:
    sidecar = a_sidecar()
    value: Any = getattr(sidecar, name)
    other: Any = {
        "state": FileState.MOVED,
        "retention_policy": RetentionPolicy.PERMANENT,
        "tags": ("a",),
        "attributes": {"a": "b"},
        "finalized_at": AT,
        "unknown": '"a":1',
        "legal_hold": True,
        "home_since": 0,
        "copies": 1,
        "deleted_at": AT,
    }.get(name)
    if other is None:
        if isinstance(value, str):
            other = value + "x"
        elif isinstance(value, datetime):
            other = value + timedelta(microseconds=1)
        else:
            other = value + 1
    assert digest(replace(sidecar, **{name: other})) != digest(sidecar)


def test_a_sidecar_of_an_earlier_version_is_as_it_was() -> None:
    """Whoever has no value in a new field has no trace of it: bytes and digest stay."""
    members = json.loads(encode(a_sidecar()))
    assert not members.keys() & NEW.keys()
    assert list(members)[-1] == "legal_hold"
    all_set = json.loads(encode(a_sidecar(**NEW)))
    assert list(all_set) == [*members, *NEW]


@pytest.mark.parametrize(
    "wrong", [{"home_since": -1}, {"home_since": "1"}, {"copies": 0}, {"moved_to": 2}]
)
def test_a_wrong_value_in_a_new_field_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidSidecar, match=next(iter(wrong))):
        decode(json.dumps(json.loads(encode(a_sidecar())) | wrong).encode())


def test_only_an_erased_file_has_no_digest() -> None:
    erased = a_sidecar(state=FileState.ERASED, sha256="")
    assert decode(encode(erased)) == erased
    for state in set(FileState) - {FileState.ERASED}:
        with pytest.raises(InvalidSidecar, match="sha256"):
            decode(encode(a_sidecar(state=state, sha256="")))


def test_times_are_written_with_microseconds_and_z() -> None:
    members = json.loads(encode(a_sidecar(updated_at=datetime(2026, 1, 1, tzinfo=UTC))))
    assert members["updated_at"] == "2026-01-01T00:00:00.000000Z"
    assert members["created_at"] == "2026-01-02T03:04:05.678000Z"


def test_a_sidecar_edited_by_hand_is_read() -> None:
    members = json.loads(encode(a_sidecar(tags=("a",), attributes={"b": "c"})))
    members["updated_at"] = "2026-01-02T05:04:05+02:00"
    pretty = json.dumps(members, indent=2).encode()
    read = decode(pretty)
    assert read.updated_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert read.attributes == {"b": "c"}
    assert read.unknown == ""


def test_a_byte_order_mark_is_passed_over_and_dropped_by_the_next_write() -> None:
    sidecar = a_sidecar()
    marked = b"\xef\xbb\xbf" + encode(sidecar)
    assert decode(marked) == sidecar
    assert decode_with_digest(marked) == (sidecar, digest(sidecar))
    assert encode(decode(marked)) == encode(sidecar)


def test_optional_fields_may_be_missing() -> None:
    members = json.loads(encode(a_sidecar()))
    for name in ("content_type", "description", "tags", "attributes", "crc32c", "legal_hold"):
        del members[name]
    read = decode(json.dumps(members).encode())
    assert read.content_type == "application/octet-stream"
    assert read.crc32c is None
    assert not read.legal_hold


@pytest.mark.parametrize(
    "raw",
    [
        '"later": {"a" : [1,2 , 3],"b":"\\u0041"}',
        '"n": 1.50e3',
        '"a":1, "b" : "x\\":y"',
        '"empty":{},"none":null',
        '"quote\\"d":true',
        '"текст":"значение"',
    ],
)
def test_unknown_fields_are_kept_byte_for_byte(raw: str) -> None:
    encoded = encode(a_sidecar(description='says "a": b'))
    with_unknown = b"{" + raw.encode() + b" ,\n" + encoded[1:]
    read = decode(with_unknown)
    # Space between members is no part of any.
    assert read.unknown == raw.replace(', "b"', ',"b"')
    assert read.unknown.encode() in encode(read)
    assert decode(encode(replace(read, revision=2))).unknown == read.unknown


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(string.ascii_letters, max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(json_values, st.booleans())
def test_any_unknown_value_survives(value: Any, ascii_only: bool) -> None:
    raw = f'"x-later" :{json.dumps(value, ensure_ascii=ascii_only)}'
    encoded = encode(a_sidecar())
    assert decode(encoded[:-1] + b"," + raw.encode() + b"}").unknown == raw


def edited(**members: Any) -> bytes:
    return json.dumps({**json.loads(encode(a_sidecar())), **members}).encode()


def without(name: str) -> bytes:
    members = json.loads(encode(a_sidecar()))
    del members[name]
    return json.dumps(members).encode()


WHOLE = encode(a_sidecar())

BROKEN = {
    "0 bytes": b"",
    "truncated": WHOLE[: len(WHOLE) // 2],
    "truncated by one": WHOLE[:-1],
    "not JSON": b"not json",
    "trailing bytes": WHOLE + b"x",
    "a list": b"[]",
    "a number": b"1",
    "null": b"null",
    "binary": bytes(range(256)),
    "two byte order marks": b"\xef\xbb\xbf" * 2 + WHOLE,
    "UTF-16": WHOLE.decode().encode("utf-16"),
    "too large": WHOLE[:-1] + b" " * MAX_SIDECAR_BYTES + b"}",
    "newer schema": edited(schema_version=2),
    "no schema": without("schema_version"),
    "schema as text": edited(schema_version="1"),
    "schema as true": edited(schema_version=True),
    "no id": without("file_id"),
    "id no UUID": edited(file_id="x"),
    "id upper case": edited(file_id="01A20B9E-812F-72AF-B9D0-009152548ED2"),
    "id a number": edited(file_id=5),
    "no revision": without("revision"),
    "revision 0": edited(revision=0),
    "revision huge": edited(revision=1 << 64),
    "revision 2**63": edited(revision=1 << 63),
    "size negative": edited(size_bytes=-1),
    "size a float": edited(size_bytes=1.5),
    "size a text": edited(size_bytes="5"),
    "size true": edited(size_bytes=True),
    "size huge": edited(size_bytes=10**30),
    "no size": without("size_bytes"),
    "crc32c over 32 bits": edited(crc32c=1 << 32),
    "state unknown": edited(state="lost"),
    "state in capitals": edited(state="ACTIVE"),
    "state a list": edited(state=["active"]),
    "policy unknown": edited(retention_policy="forever"),
    "retention over 32 bits": edited(retention_days=1 << 31),
    "sha256 short": edited(sha256="ab"),
    "sha256 upper case": edited(sha256="AB" * 32),
    "sha256 missing": without("sha256"),
    "no created_at": without("created_at"),
    "created_at null": edited(created_at=None),
    "created_at a date": edited(created_at="2026-01-01"),
    "created_at without zone": edited(created_at="2026-01-01T00:00:00"),
    "created_at a number": edited(created_at=1_700_000_000),
    "created_at impossible": edited(created_at="2026-02-30T00:00:00Z"),
    "created_at before time": edited(created_at="0001-01-01T00:00:00+14:00"),
    "created_at after time": edited(created_at="9999-12-31T23:59:59-14:00"),
    "tags a text": edited(tags="a"),
    "tags of numbers": edited(tags=[1]),
    "attributes a list": edited(attributes=[]),
    "attributes of numbers": edited(attributes={"a": 1}),
    "attributes nested": edited(attributes={"a": {"b": "c"}}),
    "legal_hold a number": edited(legal_hold=1),
    "description a list": edited(description=[]),
    "NUL in a text": edited(description="a\0b"),
    "NUL in a tag": edited(tags=["\0"]),
    "NUL in an attribute's name": edited(attributes={"\0": ""}),
    "NUL in an unknown field": edited(later=["\0"]),
    "NUL in an unknown name": edited(**{"lat\0er": 1}),
    "lone surrogate": edited(description="\ud800"),
    "lone surrogate in an unknown field": edited(later="\udfff"),
    "invalid UTF-8": WHOLE.replace(b"alice", b"al\xff\xfee"),
    "a name twice": WHOLE[:-1] + b',"state":"deleted"}',
    "a name twice, spaced": WHOLE[:-1] + b',"state" : "deleted"}',
    "a name twice, spaced, hidden": WHOLE.replace(b'"alice"', b'"al\\":ice"')[:-1]
    + b',"state" : "deleted"}',
    "a name twice, escaped": WHOLE[:-1] + b',"st\\u0061te":"deleted"}',
    "an attribute twice": WHOLE.replace(b'"attributes":{}', b'"attributes":{"a":"1","a":"2"}'),
    "an unknown name twice": WHOLE[:-1] + b',"x":1,"x":2}',
    "a nested name twice": WHOLE[:-1] + b',"x":{"y":1,"y":2}}',
    "a huge integer in an unknown field": edited(later=10**30),
    "an integer over 64 bits in an unknown field": edited(later=[1 << 63]),
    "deeply nested": WHOLE[:-1] + b',"x":' + b"[" * 100 + b"]" * 100 + b"}",
    "very deeply nested": WHOLE[:-1] + b',"x":' + b"[" * 1500 + b"]" * 1500 + b"}",
    "NaN": WHOLE[:-1] + b',"x":NaN}',
    "infinity": WHOLE[:-1] + b',"x":1e999}',
    "name with a separator": edited(storage_filename="../x"),
    "name of the folder above": edited(storage_filename=".."),
    "path that leaves the store": edited(storage_path="2026/../.."),
    "absolute path": edited(storage_path="/etc"),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_sidecar_is_refused_with_a_reason(data: bytes) -> None:
    with pytest.raises(InvalidSidecar) as refused:
        decode(data)
    assert refused.value.reason


@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(InvalidSidecar):
        decode(noise)


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_a_flipped_byte_is_read_strictly_or_refused(position: int, byte: int) -> None:
    data = WHOLE[:position] + bytes([byte]) + WHOLE[position + 1 :]
    try:
        read = decode(data)
    except InvalidSidecar:
        return
    assert decode(encode(read)) == read


def test_a_sidecar_that_would_be_too_large_is_not_written() -> None:
    with pytest.raises(FailedPrecondition):
        encode(a_sidecar(unknown='"x":"' + "y" * MAX_SIDECAR_BYTES + '"'))


# What the steps of a file's life leave unset in each state; all else has its longest value.
UNSET: dict[FileState, tuple[str, ...]] = {
    FileState.ACTIVE: ("moved_to", "deleted_at"),
    FileState.DELETED: ("moved_to",),
    FileState.MOVED: ("deleted_at",),
    FileState.COPY: (),
    FileState.INCOMING: ("moved_to", "deleted_at"),
    FileState.GONE: ("deleted_at", "copies"),
    FileState.ERASED: ("moved_to", "deleted_at", "copies"),
}
TEMPORARY: dict[str, Any] = {
    "retention_policy": RetentionPolicy.TEMPORARY,
    "retention_days": 36_500,
    "expires_at": AT,
}
FINALIZED: dict[str, Any] = {
    "retention_policy": RetentionPolicy.PERMANENT,
    "retention_days": None,
    "expires_at": None,
    "finalized_at": AT,
    "finalized_to": "e" * 32,
}


@pytest.mark.parametrize("kept", [TEMPORARY, FINALIZED], ids=["temporary", "finalized"])
@pytest.mark.parametrize("state", FileState)
def test_the_systems_own_part_always_fits(state: FileState, kept: dict[str, Any]) -> None:
    element_id = "e" * 32
    system: dict[str, Any] = {
        **kept,
        "home_since": (1 << 63) - 1,
        "moved_to": element_id,
        "copies": 5,
        "updated_by": "u" * MAX_CREATED_BY_BYTES,
        "deleted_at": AT,
    }
    system = {name: value for name, value in system.items() if name not in UNSET[state]}
    user: dict[str, Any] = {
        "original_filename": "n" * 1000,
        "content_type": "c" * 100,
        "version": "v" * 10,
        "request_id": "r" * 100,
        "namespace": "s" * 100,
        "tags": ("t" * 100,),
        "attributes": {"a": "b"},
    }
    description = "d"
    with suppress(InvalidArgument):
        while True:
            check_user_part(description=description + "d", **user)
            description += "d"
    largest = a_sidecar(
        revision=(1 << 63) - 1,
        state=state,
        storage_filename="n" * 200,
        size_bytes=(1 << 63) - 1,
        crc32c=(1 << 32) - 1,
        created_by="c" * MAX_CREATED_BY_BYTES,
        description=description,
        legal_hold=False,
        **system,
        **user,
    )
    assert len(encode(largest)) <= MAX_SIDECAR_BYTES
