"""The digest of bytes that may come twice."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artstore_client.local.digest import RunningDigest, crc32c


@given(st.binary(max_size=2000), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 500))))
def test_bytes_sent_again_count_once(data: bytes, ranges: list[tuple[int, int]]) -> None:
    digest = RunningDigest()
    for start, length in ranges:
        if start <= digest.position:
            digest.update(start, data[start : start + length])
    assert digest.sha256 == hashlib.sha256(data[: digest.position]).hexdigest()


def test_gap_is_refused() -> None:
    digest = RunningDigest()
    digest.update(0, b"abc")
    with pytest.raises(ValueError, match="3 to 5"):
        digest.update(5, b"x")


def test_crc32c_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283
