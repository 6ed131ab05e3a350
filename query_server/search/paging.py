"""Page tokens: where the next page starts, valid for one query only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from mesh import paging
from query_server.search.request import Order, SearchQuery

MAX_NAMESAKES = 20
_BIGGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Position:
    """The last row of a page, and what was found on the first one.

    Attributes:
        key: the sort values of that row, file_id last.
        total: matches on all pages.
        exact: counted to the end.
        fuzzy: the first page found nothing by words and went by similarity.
        newest: created_at of the newest match then; what came later is not among the ranked
            matches, else each new file would push one out of them between two pages. None
            where nothing is ranked.
        oldest: created_at and file_id of the oldest match that is ranked; older ones come after
            all ranked ones, newest first, and the key then is one of these. None where all are
            ranked, or nothing is.
        namesakes: as of the query.
    """

    key: Sequence[Any]
    total: int
    exact: bool
    fuzzy: bool
    newest: datetime | None = None
    oldest: tuple[datetime, str] | None = None
    namesakes: Sequence[str] = ()

    @property
    def past_ranked(self) -> bool:
        """Whether the last row was one of those after the ranked ones."""
        return self.oldest is not None and len(self.key) == 2


def fingerprint(query: SearchQuery) -> str:
    """Changes with whatever the order or the set of matches depends on."""
    # A map of protobuf comes in any order.
    filters = replace(query.filters, attributes=dict(sorted(query.filters.attributes.items())))
    parts = (
        query.text,
        repr(filters),
        query.order.value,
        query.descending,
        sorted(query.readable) if query.readable is not None else None,
    )
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def made_for(query: SearchQuery) -> Sequence[object]:
    """What a token of this query is bound to."""
    return "search", fingerprint(query)


def encode(query: SearchQuery, position: Position) -> str:
    """The token of a position."""
    content = [
        position.key,
        position.total,
        position.exact,
        position.fuzzy,
        position.newest,
        position.oldest,
        *([list(position.namesakes)] if position.namesakes else []),
    ]
    return paging.encode(made_for(query), content)


def decode(query: SearchQuery) -> Position | None:
    """The position of `query.page_token`; None for the first page.

    A token is not signed, so each value is checked: none may trouble the database.

    Raises:
        InvalidArgument: it is no token, or one of another query.
    """
    if not query.page_token:
        return None
    try:
        return _position(query)
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        raise paging.wrong_token() from error


def _position(query: SearchQuery) -> Position:
    content = paging.decode(made_for(query), query.page_token)
    key, total, exact, fuzzy, newest, oldest, *named = content
    if not isinstance(exact, bool) or not isinstance(fuzzy, bool):
        raise TypeError("not a flag")
    if oldest is not None:
        if fuzzy or query.order is not Order.RELEVANCE:
            raise ValueError("nothing is ranked")
        at, file_id = oldest
        oldest = (paging.moment(at), _text(file_id))
    return Position(
        _key(query, key, fuzzy=fuzzy, past_ranked=oldest is not None and len(key) == 2),
        _number(total, least=0),
        exact,
        fuzzy,
        None if newest is None else paging.moment(newest),
        oldest,
        tuple(_text(file_id) for file_id in (named[0] if named else ())[:MAX_NAMESAKES]),
    )


def _key(query: SearchQuery, key: list[Any], *, fuzzy: bool, past_ranked: bool) -> list[Any]:
    if not past_ranked and (fuzzy or query.order is Order.RELEVANCE):
        score, created_at, file_id = key
        return [float(score), paging.moment(created_at), _text(file_id)]
    value, file_id = key
    if past_ranked or query.order in (Order.CREATED_AT, Order.UPDATED_AT):
        return [paging.moment(value), _text(file_id)]
    if query.order is Order.SIZE:
        return [_number(value, least=-_BIGGEST), _text(file_id)]
    return [_text(value), _text(file_id)]


def _number(value: Any, *, least: int) -> int:
    if type(value) is not int or not least <= value <= _BIGGEST:
        raise ValueError("not a number of 64 bits")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("not a text")
    return value
