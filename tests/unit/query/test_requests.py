"""What a search asks for is checked, and what is wrong is named."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from artstore.v1 import query_pb2
from mesh.errors import InvalidArgument
from mesh.identity.caller import ANONYMOUS
from query_server.rpc.messages import to_query
from query_server.search.request import MAX_FILTER_VALUES


def at(day: int) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(datetime(2026, 1, day, tzinfo=UTC))
    return stamp


@pytest.mark.parametrize(
    ("filters", "field"),
    [
        ({"min_size_bytes": -1}, "min_size_bytes"),
        ({"max_size_bytes": -1}, "max_size_bytes"),
        ({"min_size_bytes": 2, "max_size_bytes": 1}, "min_size_bytes"),
        ({"created_after_at": at(2), "created_before_at": at(2)}, "created_after_at"),
        ({"updated_after_at": at(3), "updated_before_at": at(2)}, "updated_after_at"),
        ({"expires_before_at": Timestamp(seconds=2**62)}, "expires_before_at"),
        ({"retention_policies": [0]}, "retention_policies"),
        ({"retention_policies": [77]}, "retention_policies"),
        ({"extensions": ["a\0"]}, "extensions"),
        ({"extensions": ["*.gz"]}, "extensions"),
        ({"extensions": ["a/b"]}, "extensions"),
        ({"content_types": ["*/*"]}, "content_types"),
        ({"content_types": ["image/"]}, "content_types"),
        ({"content_types": [""]}, "content_types"),
        ({"tags": [""]}, "tags"),
        ({"namespaces": [""]}, "namespaces"),
        ({"attributes": {"a": "\0"}}, "attributes"),
    ],
)
def test_a_filter_that_says_nothing_is_refused_by_its_name(
    filters: dict[str, Any], field: str
) -> None:
    request = query_pb2.SearchFilesRequest(filters=query_pb2.SearchFilters(**filters))
    with pytest.raises(InvalidArgument) as refused:
        to_query(request, ANONYMOUS)
    assert refused.value.field == f"filters.{field}"


def test_facets_are_all_some_or_none() -> None:
    ask = query_pb2.SearchFilesRequest
    tag = query_pb2.FACET_FIELD_TAG
    assert len(to_query(ask(), ANONYMOUS).facets) == 3
    assert to_query(ask(facet_fields=[tag, tag]), ANONYMOUS).facets == ["tag"]
    assert to_query(ask(omit_facets=True), ANONYMOUS).facets == []
    for wrong, field in (
        (ask(facet_fields=[query_pb2.FACET_FIELD_UNSPECIFIED]), "facet_fields"),
        (ask(facet_fields=[tag], omit_facets=True), "omit_facets"),
    ):
        with pytest.raises(InvalidArgument) as refused:
            to_query(wrong, ANONYMOUS)
        assert refused.value.field == field


@pytest.mark.parametrize(
    "field", ["tags", "namespaces", "extensions", "retention_policies", "attributes"]
)
def test_of_a_list_that_is_too_long_no_value_is_looked_at(field: str) -> None:
    number = field == "retention_policies"
    values: Any = [0 if number else "\0"] * (MAX_FILTER_VALUES + 1)
    if field == "attributes":
        values = {f"key {n}": "\0" for n in range(MAX_FILTER_VALUES + 1)}
    request = query_pb2.SearchFilesRequest(filters=query_pb2.SearchFilters(**{field: values}))
    with pytest.raises(InvalidArgument) as refused:
        to_query(request, ANONYMOUS)
    assert refused.value.field == f"filters.{field}"
    assert "at most 100" in refused.value.message


def test_of_facets_too_the_number_is_looked_at_first() -> None:
    many = query_pb2.SearchFilesRequest(facet_fields=[77] * 101)  # type: ignore[list-item]
    with pytest.raises(InvalidArgument, match="at most 100"):
        to_query(many, ANONYMOUS)
