"""What is searched for, as plain Python."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from mesh.errors import InvalidArgument

MAX_QUERY_BYTES = 1024
# Of one list, and of attributes.
MAX_FILTER_VALUES = 100
DEFAULT_PAGE_SIZE = 50
# What values of matches are counted by.
FACETS = ("content_type", "storage_element_id", "tag")


class Order(enum.StrEnum):
    """What results can be sorted by."""

    RELEVANCE = "relevance"
    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"
    NAME = "original_filename"
    SIZE = "size_bytes"


@dataclass(frozen=True, slots=True)
class Filters:
    """Conditions joined by AND; values of one list by OR, tags and attributes by AND."""

    storage_element_ids: Sequence[str] = ()
    namespaces: Sequence[str] = ()
    created_by: Sequence[str] = ()
    content_types: Sequence[str] = ()
    extensions: Sequence[str] = ()
    tags: Sequence[str] = ()
    min_size_bytes: int | None = None
    max_size_bytes: int | None = None
    created_after_at: datetime | None = None
    created_before_at: datetime | None = None
    updated_after_at: datetime | None = None
    updated_before_at: datetime | None = None
    retention_policies: Sequence[str] = ()
    expires_before_at: datetime | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """One search, checked.

    Attributes:
        text: words to find; empty matches all.
        order: what to sort by.
        descending: largest first.
        page_size: 1 to 1,000.
        readable: namespaces the caller may read; None means all.
        whole: the text as it was given, which may be the whole name of a file.
        facets: which fields to count the values of.
    """

    text: str
    filters: Filters
    order: Order
    descending: bool
    page_size: int
    page_token: str
    readable: frozenset[str] | None
    whole: str = ""
    facets: Sequence[str] = FACETS


def parse_order(order_by: str, *, has_text: bool) -> tuple[Order, bool]:
    """`created_at desc` -> (CREATED_AT, True); empty means the default order."""
    if not order_by.strip():
        return (Order.RELEVANCE, True) if has_text else (Order.CREATED_AT, True)
    words = order_by.split()
    known = {order.value: order for order in Order}
    if words[0] not in known or len(words) > 2 or words[1:] not in ([], ["desc"], ["asc"]):
        raise InvalidArgument(
            f"order_by is one of {', '.join(known)}, with an optional `desc`", field="order_by"
        )
    order = known[words[0]]
    if order is Order.RELEVANCE:
        if not has_text:
            raise InvalidArgument("relevance needs a query", field="order_by")
        return order, True
    return order, words[1:] == ["desc"]


def check_text(text: str) -> str:
    """The query's text, refused when it is too long or holds NUL."""
    # A text has no fewer bytes than characters, which are counted already.
    too_long = len(text) > MAX_QUERY_BYTES
    if too_long or len(text.encode("utf-8", "surrogatepass")) > MAX_QUERY_BYTES:
        raise InvalidArgument(f"query is at most {MAX_QUERY_BYTES} bytes", field="query")
    if "\0" in text:
        raise InvalidArgument("query must not hold NUL", field="query")
    return text.strip()
