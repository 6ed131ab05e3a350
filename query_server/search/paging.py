"""Page tokens: where the next page starts, valid for one query only."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from mesh.errors import InvalidArgument
from query_server.search.request import Order, SearchQuery


@dataclass(frozen=True, slots=True)
class Position:
    """The last row of a page, and what was counted on the first one.

    Attributes:
        key: the sort values of that row, file_id last.
        total: matches on all pages.
        exact: counted to the end.
        fuzzy: the first page found nothing by words and went by similarity.
    """

    key: Sequence[Any]
    total: int
    exact: bool
    fuzzy: bool


def fingerprint(query: SearchQuery) -> str:
    """Changes with whatever the order or the set of matches depends on."""
    parts = (
        query.text,
        repr(query.filters),
        query.order.value,
        query.descending,
        sorted(query.readable) if query.readable is not None else None,
    )
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def encode(query: SearchQuery, position: Position) -> str:
    """The token of a position."""
    key = [part.isoformat() if isinstance(part, datetime) else part for part in position.key]
    content = [fingerprint(query), key, position.total, position.exact, position.fuzzy]
    return base64.urlsafe_b64encode(orjson.dumps(content)).decode().rstrip("=")


def decode(query: SearchQuery) -> Position | None:
    """The position of `query.page_token`; None for the first page.

    Raises:
        InvalidArgument: it is no token, or one of another query.
    """
    if not query.page_token:
        return None
    wrong = InvalidArgument(
        "page_token is not one of this query, filters and order", field="page_token"
    )
    try:
        padded = query.page_token + "=" * (-len(query.page_token) % 4)
        made_for, key, total, exact, fuzzy = orjson.loads(base64.urlsafe_b64decode(padded))
        if made_for != fingerprint(query):
            raise wrong
        return Position(_typed(query, key, fuzzy), int(total), bool(exact), bool(fuzzy))
    except (ValueError, TypeError, binascii.Error) as error:
        raise wrong from error


def _typed(query: SearchQuery, key: list[Any], fuzzy: bool) -> list[Any]:
    if fuzzy or query.order is Order.RELEVANCE:
        score, created_at, file_id = key
        return [float(score), datetime.fromisoformat(created_at), str(file_id)]
    value, file_id = key
    if query.order in (Order.CREATED_AT, Order.UPDATED_AT):
        return [datetime.fromisoformat(value), str(file_id)]
    if query.order is Order.SIZE:
        return [int(value), str(file_id)]
    return [str(value), str(file_id)]
