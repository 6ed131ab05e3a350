"""Page tokens lead on from where they were made, and nothing else gets through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh import paging
from mesh.errors import InvalidArgument
from query_server.search.paging import Position, decode, encode, fingerprint, made_for
from query_server.search.request import Filters, Order, SearchQuery

WHEN = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
QUERY = SearchQuery("text", Filters(), Order.RELEVANCE, True, 50, "", None)


def forged(query: SearchQuery, *rest: Any) -> SearchQuery:
    return replace(query, page_token=paging.encode(made_for(query), rest))


@pytest.mark.parametrize(
    ("order", "key"),
    [
        (Order.RELEVANCE, [0.125, WHEN, "id"]),
        (Order.CREATED_AT, [WHEN, "id"]),
        (Order.UPDATED_AT, [WHEN, "id"]),
        (Order.SIZE, [2**40, "id"]),
        (Order.NAME, ["файл 🎉", "id"]),
    ],
)
def test_a_token_leads_to_its_position(order: Order, key: Sequence[Any]) -> None:
    query = replace(QUERY, order=order)
    position = Position(key, 10_000, False, False, WHEN)
    assert decode(replace(query, page_token=encode(query, position))) == position
    plain = [WHEN.isoformat() if part is WHEN else part for part in key]
    assert decode(forged(query, plain, 10_000, False, False, WHEN.isoformat(), None)) == position


@pytest.mark.parametrize("key", [[0.125, WHEN, "id"], [WHEN, "id"]])
def test_a_token_tells_what_was_ranked_and_whether_that_is_past(key: Sequence[Any]) -> None:
    position = Position(key, 1_000, False, False, WHEN, (WHEN, "old"))
    assert decode(replace(QUERY, page_token=encode(QUERY, position))) == position
    assert position.past_ranked is (len(key) == 2)


def test_a_map_in_another_order_is_the_same_query() -> None:
    one = replace(QUERY, filters=Filters(attributes={"a": "1", "b": "2"}))
    other = replace(QUERY, filters=Filters(attributes={"b": "2", "a": "1"}))
    assert fingerprint(one) == fingerprint(other)
    assert fingerprint(one) != fingerprint(QUERY)


@pytest.mark.parametrize(
    "token", ["x", "e30", "W10", "\0", "ы", "a" * 5000, "eyJhIjoxfQ==", "===="]
)
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        decode(replace(QUERY, page_token=token))
    assert refused.value.field == "page_token"


@pytest.mark.parametrize(
    ("order", "rest"),
    [
        (Order.NAME, [["a\0b", "id"], 1, True, False, None, None]),
        (Order.NAME, [["a", "i\0d"], 1, True, False, None, None]),
        (Order.NAME, [[1, "id"], 1, True, False, None, None]),
        (Order.NAME, [["a"], 1, True, False, None, None]),
        (Order.NAME, ["ab", 1, "yes", False, None, None]),
        (Order.NAME, [["a", "id"], 2**63, True, False, None, None]),
        (Order.NAME, [["a", "id"], -1, True, False, None, None]),
        (Order.NAME, [["a", "id"], "7", True, False, None, None]),
        (Order.NAME, [["a", "id"], 1, 1, False, None, None]),
        (Order.NAME, [["a", "id"], 1, True, None, None, None]),
        (Order.NAME, [["a", "id"], 1, True, False, None]),
        (Order.SIZE, [[2**63, "id"], 1, True, False, None, None]),
        (Order.SIZE, [[1.5, "id"], 1, True, False, None, None]),
        (Order.SIZE, [[True, "id"], 1, True, False, None, None]),
        (Order.CREATED_AT, [["2026-01-01", "id"], 1, True, False, None, None]),
        (Order.CREATED_AT, [["0001-01-01T00:00:00+14:00", "id"], 1, True, False, None, None]),
        (Order.CREATED_AT, [[5, "id"], 1, True, False, None, None]),
        (Order.RELEVANCE, [["x", WHEN.isoformat(), "id"], 1, True, False, None, None]),
        (Order.RELEVANCE, [[None, WHEN.isoformat(), "id"], 1, True, False, None, None]),
        (Order.RELEVANCE, [[1, WHEN.isoformat(), "id"], 1, True, False, "soon", None]),
        (Order.RELEVANCE, [{"a": 1}, 1, True, False, None, None]),
        (Order.RELEVANCE, [None, 1, True, False, None, None]),
        (Order.RELEVANCE, [[1.5, WHEN.isoformat(), "id"], 1, False, False, None, ["soon", "id"]]),
        (Order.RELEVANCE, [[1.5, WHEN.isoformat(), "id"], 1, False, False, None, ["id"]]),
        (Order.RELEVANCE, [[1.5, "id"], 1, False, False, None, [WHEN.isoformat(), "id"]]),
        (Order.RELEVANCE, [[WHEN.isoformat(), "id"], 1, False, False, None, None]),
        (Order.NAME, [[WHEN.isoformat(), "id"], 1, False, False, None, [WHEN.isoformat(), "id"]]),
    ],
)
def test_a_forged_value_is_refused(order: Order, rest: Sequence[Any]) -> None:
    with pytest.raises(InvalidArgument):
        decode(forged(replace(QUERY, order=order), *rest))


anything = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63),
        st.floats(),
        st.text(st.characters(exclude_categories=["Cs"])),
        st.just(WHEN.isoformat()),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text("ab"), inner)),
    max_leaves=6,
)
positions = st.tuples(
    st.one_of(st.just([1.5, WHEN.isoformat(), "id"]), st.just([WHEN.isoformat(), "id"]), anything),
    st.one_of(st.just(7), anything),
    st.one_of(st.booleans(), anything),
    st.one_of(st.just(False), anything),
    st.one_of(st.none(), anything),
    st.one_of(st.none(), anything),
    st.one_of(st.just(["id"]), anything),
)


@settings(deadline=None)
@given(order=st.sampled_from(Order), rest=positions, left_out=st.integers(0, 7))
def test_whatever_is_in_a_token_is_taken_or_refused(
    order: Order, rest: tuple[Any, ...], left_out: int
) -> None:
    query = forged(replace(QUERY, order=order), *rest[: len(rest) - left_out])
    try:
        position = decode(query)
    except InvalidArgument as error:
        assert error.field == "page_token"
    else:
        assert position is not None
        assert 0 <= position.total < 2**63
