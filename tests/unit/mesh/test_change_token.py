"""Change tokens travel as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.elements.change_token import ChangeToken, decode, encode
from mesh.errors import InvalidArgument


@given(st.uuids(), st.integers(0, (1 << 63) - 1))
def test_a_token_is_read_back(epoch: object, sequence: int) -> None:
    assert decode(encode("se-01", str(epoch), sequence)) == ChangeToken(
        "se-01", str(epoch), sequence
    )


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "..",
        "se-01.e.",
        "se-01.e.-1",
        "se-01.e.1x",
        ".e.1",
        "se-01..1",
        "a.b.²",
        "a.b." + "9" * 50,
        "a" * 10_000,
    ],
)
def test_any_other_text_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument):
        decode(token)
