"""Page tokens lead on where they were made for, and nothing else gets through them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.errors import InvalidArgument
from mesh.paging import AskedPage, encode, page_size_of

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
numbers = st.integers(-(2**31) + 1, 2**31 - 1)
times = st.datetimes(
    min_value=datetime(1, 1, 2),
    max_value=datetime(9999, 12, 30),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)
KINDS: dict[type, st.SearchStrategy[Any]] = {str: texts, int: numbers, datetime: times}
kinds = st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=4)
keys = kinds.flatmap(
    lambda found: st.tuples(st.just(found), st.tuples(*(KINDS[kind] for kind in found)))
)
filters = st.lists(st.one_of(texts, st.booleans(), st.none(), st.lists(texts)), max_size=3)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/.\0é"


def after(token: str, *found: type, made_for: Sequence[object] = ("elements",)) -> Any:
    return AskedPage.read(0, token, made_for, *found).after


def refused(token: str, *found: type, made_for: Sequence[object] = ("elements",)) -> None:
    with pytest.raises(InvalidArgument) as caught:
        after(token, *found, made_for=made_for)
    assert caught.value.field == "page_token"
    assert caught.value.reason == "INVALID_ARGUMENT"


@settings(deadline=None)
@given(key=keys, made_for=filters)
def test_a_token_gives_back_its_key(key: tuple[list[type], tuple[Any, ...]], made_for: Any) -> None:
    found, parts = key
    assert after(encode(made_for, parts), *found, made_for=made_for) == parts


def test_no_token_is_the_first_page() -> None:
    assert after("", int, str) is None


@settings(deadline=None)
@given(one=filters, other=filters, key=texts)
def test_a_token_of_another_request_is_refused(one: Any, other: Any, key: str) -> None:
    token = encode(("files", *one), (key,))
    if one != other:
        refused(token, str, made_for=("files", *other))
    refused(token, str, made_for=("locks", *one))


@settings(deadline=None)
@given(
    key=keys, where=st.integers(0, 10_000), what=st.sampled_from(ALPHABET), kind=st.integers(0, 3)
)
def test_a_token_that_was_altered_is_refused(
    key: tuple[list[type], tuple[Any, ...]], where: int, what: str, kind: int
) -> None:
    found, parts = key
    token = encode(("elements",), parts)
    at = where % len(token)
    altered = (
        token[:at] + what + token[at + 1 :],
        token[:at] + what + token[at:],
        token[:at] + token[at + 1 :],
        token[:at],
    )[kind]
    if altered and altered != token:
        refused(altered, *found)


@settings(deadline=None)
@given(token=st.text(min_size=1))
def test_no_text_does_more_than_be_refused(token: str) -> None:
    refused(token, int, str)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(), texts),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(texts, inner)),
    max_leaves=8,
)


@settings(deadline=None)
@given(content=st.lists(json_values, max_size=4), found=kinds)
def test_what_somebody_made_up_is_refused_or_of_the_right_types(
    content: list[Any], found: list[type]
) -> None:
    """Whoever reads this file can seal a token: a database must still be able to take it."""
    token = encode(("elements",), content)
    try:
        parts = after(token, *found)
    except InvalidArgument as error:
        assert error.field == "page_token"
    else:
        assert [type(part) for part in parts] == found
        assert all(abs(part) < 2**31 for part in parts if isinstance(part, int))
        assert not any("\0" in part for part in parts if isinstance(part, str))


def older(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "token",
    [
        encode(("accounts",), (5, "se-01")),
        encode(("elements",), ("5", "se-01")),
        encode(("elements",), (True, "se-01")),
        encode(("elements",), (5,)),
        encode(("elements",), (5, "se-01", "more")),
        encode(("elements",), (2**40, "se-01")),
        encode(("elements",), (5, "nul\0")),
        older('["elements",5,"\\ud800"]'),
        "W" * 3000,
        "W" * 30_000,
        "[]",
        "é",
        "W1tbW1tb",
        older("[" * 5000),
    ],
)
def test_other_tokens_are_refused(token: str) -> None:
    refused(token, int, str)


@pytest.mark.parametrize(
    "token",
    [
        older('["elements",100,"se-01"]'),
        older("1767225600000000.019b76da-a800-7ba2-bf08-ba7b2a556ee5"),
        older('["0f0f0f0f0f0f0f0f",["2026-01-01T00:00:00+00:00","id"],1,true,false,null,null]'),
        "100",
    ],
)
def test_tokens_of_older_versions_are_refused_and_told_how_to_go_on(token: str) -> None:
    with pytest.raises(InvalidArgument, match="leave it empty to begin anew") as caught:
        after(token, int, str)
    assert caught.value.field == "page_token"


@pytest.mark.parametrize(("asked", "given"), [(0, 100), (1, 1), (1000, 1000), (5000, 1000)])
def test_page_sizes(asked: int, given: int) -> None:
    assert page_size_of(asked) == given


def test_page_sizes_are_never_negative_and_have_a_default_of_their_own() -> None:
    assert page_size_of(0, default=50) == 50
    with pytest.raises(InvalidArgument) as caught:
        page_size_of(-1)
    assert caught.value.field == "page_size"


@settings(deadline=None)
@given(entries=st.lists(numbers, unique=True, max_size=30), size=st.integers(1, 12))
def test_pages_hold_every_entry_once_and_in_order(entries: list[int], size: int) -> None:
    entries.sort()
    by_key: list[int] = []
    of_all: list[int] = []
    request = SimpleNamespace(page_size=size, page_token="")
    while True:
        asked = AskedPage.of(request, ("numbers",), int)
        rest = [n for n in entries if asked.after is None or n > asked.after[0]]
        page, request.page_token = asked.page(rest[: asked.size + 1], lambda n: (n,))
        assert len(page) <= size
        by_key += page
        if not request.page_token:
            break
    while True:
        asked = AskedPage.of(request, ("all",), int)
        page, request.page_token = asked.page_of_all(reversed(entries), lambda n: (n,))
        of_all += page
        if not request.page_token:
            break
    assert by_key == of_all == entries


@pytest.mark.parametrize("descending", [False, True])
def test_what_comes_and_goes_between_two_pages_doubles_and_hides_nothing_else(
    descending: bool,
) -> None:
    entries = [1, 3, 5, 7, 9, 11]
    request = SimpleNamespace(page_size=2, page_token="")
    told: list[int] = []
    while not told or request.page_token:
        asked = AskedPage.of(request, ("all",), int)
        page, request.page_token = asked.page_of_all(entries, lambda n: (n,), descending=descending)
        told += page
        if len(told) == 2:
            # Between what was told and what was not, and one that was told.
            entries.insert(3, 6)
            entries.remove(told[0])
    assert told == sorted([1, 3, 5, 6, 7, 9, 11], reverse=descending)
