"""The quick way from a sidecar's bytes to its row takes nothing that the codec takes otherwise."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_server.catalog.binary_rows import encoded, encoded_written, microseconds
from storage_server.catalog.rows import to_values
from storage_server.domain.fields import ALWAYS_WRITTEN, WRITTEN_WHEN_SET
from storage_server.domain.sidecar import (
    FileState,
    InvalidSidecar,
    Sidecar,
    decode_with_digest,
    encode,
)
from storage_server.domain.sidecar_written import WrittenSidecar, read_written
from storage_server.store.port import Identity
from tests.support.sidecars import AT, a_sidecar, any_sidecar

NOW = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC)
IDENTITY = Identity(size=900, mtime_ns=1_700_000_000_123_456_789, inode=(1 << 64) - 5, etag="e")


def rows_of(data: bytes, *, blob_present: bool = True) -> tuple[bytes | None, bytes | None]:
    """The row of a sidecar by the quick way, and by the codec; None where one refuses it."""
    quick = slow = None
    if (written := read_written(data)) is not None:
        quick = encoded_written(
            written,
            IDENTITY,
            cache_updated_at=microseconds(NOW),
            cache_ttl_hours=24,
            blob_present=blob_present,
        )
    try:
        sidecar, digest = decode_with_digest(data)
    except InvalidSidecar:
        pass
    else:
        slow = encoded(
            to_values(
                sidecar,
                IDENTITY,
                cache_updated_at=NOW,
                cache_ttl_hours=24,
                blob_present=blob_present,
                known_digest=digest,
            )
        )
    return quick, slow


def assert_same_or_left_to_the_codec(data: bytes) -> None:
    quick, slow = rows_of(data)
    assert quick is None or quick == slow


@given(any_sidecar, st.booleans())
def test_what_was_written_is_read_in_the_quick_way_and_makes_the_same_row(
    sidecar: Sidecar, blob_present: bool
) -> None:
    data = encode(sidecar)
    quick, slow = rows_of(data, blob_present=blob_present)
    assert slow is not None
    if sidecar.unknown or b"\\u0000" in data:
        assert quick is None
    else:
        assert quick == slow


@given(any_sidecar, st.data())
def test_mutated_bytes_make_the_same_row_or_are_left_to_the_codec(
    sidecar: Sidecar, data: st.DataObject
) -> None:
    mutated = bytearray(encode(sidecar))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(mutated)))
        put = data.draw(st.binary(max_size=4) | st.sampled_from(PIECES))
        mutated[at : at + data.draw(st.integers(0, 4))] = put
    assert_same_or_left_to_the_codec(bytes(mutated))


PIECES = [
    b'"', b"\\", b'\\"', b"\\u0000", b"\\u001b", b"\\u001B", b"\\/", b"\\ud800", b"\\ud83d\\ude00",
    b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xff", b"\x00", b"\x7f", b" ", b"\n", b",", b":", b"{",
    b"}",
    b"null", b"true", b"-0", b"1e2", b"1.0", b"01", b"9223372036854775808",
    b"18446744073709551616",
    b'"revision":2,', b'"state":"copy",', b'"x":1,', b'"moved_to":"",', b'"copies":null,',
]  # fmt: skip


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_other_bytes_are_left_to_the_codec(data: bytes) -> None:
    assert read_written(data) is None


values = (
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.text(max_size=4)
    | st.lists(st.text(max_size=3) | st.integers() | st.none(), max_size=3)
    | st.dictionaries(st.text(max_size=3), st.text(max_size=3) | st.none(), max_size=3)
    | st.sampled_from([
        *FileState, "temporary", "..", "a/b", "/a", "a/../b", ".", "2026-01-02T03:04:05.678000Z",
        "2026-01-02T03:04:05Z", "2026-01-02T24:00:00.000000Z", "1969-12-31T23:59:59.999999Z",
        "9999-01-01T00:00:00.000000Z", "٢٠٢٦-01-02T03:04:05.678000Z", "ab" * 32, "AB" * 32,
        "ab" * 31 + "a\n", "019b7ca9-8f2e-7e2a-bda3-b38a8168666a\n",
    ])
)  # fmt: skip


@given(any_sidecar, st.data())
def test_other_values_order_and_members_make_the_same_row_or_are_left_to_the_codec(
    sidecar: Sidecar, data: st.DataObject
) -> None:
    members: dict[str, Any] = json.loads(encode(sidecar))
    for _ in range(data.draw(st.integers(0, 2))):
        names = st.sampled_from([*ALWAYS_WRITTEN, *WRITTEN_WHEN_SET]) | st.text(max_size=3)
        name, how = data.draw(names), data.draw(st.sampled_from(["value", "out", "last"]))
        if how == "value":
            members[name] = data.draw(values)
        elif (value := members.pop(name, None)) is not None and how == "last":
            members[name] = value
    for compact in ((",", ":"), (", ", ": ")):
        for ascii_only in (True, False):
            text = json.dumps(members, separators=compact, ensure_ascii=ascii_only)
            assert_same_or_left_to_the_codec(text.encode(errors="surrogatepass"))


@pytest.mark.parametrize("state", FileState)
@pytest.mark.parametrize("null", [True, False])
def test_nulls_of_each_state_are_taken_as_they_are_written(state: FileState, null: bool) -> None:
    sidecar = a_sidecar(state=state)
    if null:
        sidecar = replace(sidecar, crc32c=None, retention_days=None, expires_at=None)
    data = encode(sidecar)
    quick, slow = rows_of(data)
    assert quick == slow is not None
    other = data.replace(b'"crc32c":null,', b"").replace(b'"crc32c":7,', b'"crc32c":null,')
    assert_same_or_left_to_the_codec(other)


def test_both_libraries_write_each_character_alike() -> None:
    for start in range(0, sys.maxunicode + 1, 1 << 12):
        text = "".join(
            chr(code)
            for code in range(start, min(start + (1 << 12), sys.maxunicode + 1))
            if not 0xD800 <= code <= 0xDFFF
        )
        assert msgspec.json.encode(text) == orjson.dumps(text)


def test_it_has_the_fields_in_the_order_in_which_they_are_written() -> None:
    assert WrittenSidecar.__struct_fields__ == (*ALWAYS_WRITTEN, *WRITTEN_WHEN_SET)


def test_a_sidecar_that_is_as_long_as_it_may_be_is_read_and_a_longer_one_is_not() -> None:
    spare = 4096 - len(encode(a_sidecar()))
    longest = encode(a_sidecar(description="x" * spare))
    assert len(longest) == 4096
    assert read_written(longest) is not None
    assert read_written(longest.replace(b"xx", b"xxx", 1)) is None
    assert read_written(longest).created_at == AT  # type: ignore[union-attr]
