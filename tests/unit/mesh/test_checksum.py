"""The checksum of a whole is put together from those of its pieces."""

from __future__ import annotations

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.checksum import crc32c, joined

DATA = st.binary(max_size=2000)


@given(first=DATA, second=DATA)
def test_it_is_that_of_the_pieces_one_behind_the_other(first: bytes, second: bytes) -> None:
    whole = int(google_crc32c.value(first + second))
    assert crc32c(memoryview(second), crc32c(first)) == whole
    assert joined(crc32c(first), crc32c(second), len(second)) == whole


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 21) + 5])
def test_a_piece_may_be_of_any_size(size: int) -> None:
    second = bytes(range(256)) * (size // 256 + 1)
    second = second[:size]
    assert joined(crc32c(b"before"), crc32c(second), size) == crc32c(b"before" + second)


def test_a_piece_that_no_message_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        joined(1, 2, 1 << 25)
