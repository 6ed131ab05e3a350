"""Page tokens hold a sort key of their own list and nothing else."""

from __future__ import annotations

import pytest

from admin_server.rpc.paging import decode_page_token, encode_page_token, page_size_of
from mesh.errors import InvalidArgument


def test_a_token_gives_back_its_key() -> None:
    token = encode_page_token("elements", -5, "se-01")
    assert decode_page_token("elements", token, int, str) == (-5, "se-01")


def test_no_token_is_the_first_page() -> None:
    assert decode_page_token("elements", "", int, str) is None


@pytest.mark.parametrize(
    "token",
    [
        encode_page_token("accounts", 5, "se-01"),
        encode_page_token("elements", "5", "se-01"),
        encode_page_token("elements", True, "se-01"),
        encode_page_token("elements", 5),
        encode_page_token("elements", 5, "se-01", "more"),
        encode_page_token("elements", 2**40, "se-01"),
        encode_page_token("elements", 5, "nul\0"),
        encode_page_token("elements", 5, "\ud800"),
        "W" * 3000,
        "[]",
        "é",
        "W1tbW1tb",
    ],
)
def test_other_tokens_are_refused(token: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        decode_page_token("elements", token, int, str)
    assert refused.value.field == "page_token"


@pytest.mark.parametrize(("asked", "given"), [(0, 100), (1, 1), (1000, 1000), (5000, 1000)])
def test_page_sizes(asked: int, given: int) -> None:
    assert page_size_of(asked) == given
