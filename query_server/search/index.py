"""Searching: which statements a query takes, and the page that is made of their rows.

Counts and facets look at no more than MATCHES_CAP matches. When there are more, those among the
newest files are looked at, the newest matches are ranked, and the others follow by time: so the
cost of a search does not grow with how common its words are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mesh.postgres.database import Database
from query_server.search import highlight, paging, statements, terms
from query_server.search.paging import Position
from query_server.search.request import Order, SearchQuery
from query_server.search.statements import (
    FEW_MATCHES,
    MATCHES_CAP,
    PROBED_ROWS,
    WALKED_ROWS,
    Statement,
)
from query_server.search.strategies import (
    All,
    AlongColumn,
    Facets,
    Found,
    Likeness,
    NewestRanked,
    Rows,
    strategy_of,
)
from query_server.search.table import TABLE

__all__ = ["TABLE", "Hit", "Page", "SearchIndex"]

SEARCH_SECONDS = 10.0
# A message holds 4 MiB. A page with longer texts has fewer results.
MAX_PAGE_BYTES = 3 * 1024 * 1024
# Of a result besides its texts: numbers, times, and what marks each field.
_BYTES_BESIDES = 512


@dataclass(frozen=True, slots=True)
class Hit:
    """A row found, its score, and its highlighted texts by field."""

    row: Mapping[str, Any]
    score: float
    highlights: Mapping[str, str]

    @property
    def size_bytes(self) -> int:
        """About what it takes in a message, never less."""
        texts = [value for value in self.row.values() if isinstance(value, str)]
        texts += [*self.row["tags"], *self.highlights, *self.highlights.values()]
        return _BYTES_BESIDES + sum(len(text.encode()) + 8 for text in texts)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of hits.

    Attributes:
        total: matches on all pages, a lower bound unless `exact`.
        facets: field -> (value, count), most frequent first; on the first page only.
    """

    hits: Sequence[Hit]
    total: int
    exact: bool
    facets: Facets = field(default_factory=dict)
    next_page_token: str = ""


class SearchIndex:
    """Searches the table `file_metadata_cache`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def search(self, query: SearchQuery) -> Page:
        """Find a page.

        Raises:
            InvalidArgument: the page token is not of this query.
            Unavailable: the database is down or silent.
        """
        position = paging.decode(query)
        words = terms.words_of(query.text)
        query = replace(query, namesakes=await self._namesakes(query, position))
        if query.text and not words and not query.namesakes:
            return Page((), 0, True)
        if position is None:
            return await self._page(query, words, await self._first(query, words))
        strategy = strategy_of(position)(query, words, self._fetch)
        return await self._page(query, words, Found(await strategy.after(position), position))

    async def _namesakes(self, query: SearchQuery, position: Position | None) -> Sequence[str]:
        """Ids of files whose whole name is the text, the same on all pages."""
        if position is not None:
            return position.namesakes
        if not query.whole.strip():
            return ()
        return [row["file_id"] for row in await self._fetch(statements.namesakes(query))]

    async def _first(self, query: SearchQuery, words: Sequence[str]) -> Found:
        """The first page.

        The guess only decides how it is found out, and costs time when it is wrong.
        """
        (probed,) = await self._fetch(statements.probe(query, words))
        counted = None
        found = None
        if (
            probed["files"] <= WALKED_ROWS
            or probed["matched"] * probed["files"] <= FEW_MATCHES * PROBED_ROWS
        ):
            found = await All(query, words, self._fetch).first()
            if found.start.total > MATCHES_CAP:
                counted, found = (MATCHES_CAP, found.facets), None
        if found is None:
            many = NewestRanked if query.order is Order.RELEVANCE else AlongColumn
            found = await many(query, words, self._fetch).first(counted)
        if words and not found.rows:
            return await Likeness(query, words, self._fetch).first()
        return found

    async def _page(self, query: SearchQuery, words: Sequence[str], found: Found) -> Page:
        shown, position = found.rows[: query.page_size], found.start
        matched = await self._matched_words(words, shown, fuzzy=position.fuzzy)
        hits = await asyncio.to_thread(_hits, shown, matched)
        token = ""
        if len(hits) < len(found.rows):
            last = hits[-1].row
            key = [last[f"key_{n}"] for n in range(3) if f"key_{n}" in last]
            named = () if position.fuzzy else query.namesakes
            token = paging.encode(query, replace(position, key=key, namesakes=named))
        return Page(_once(hits), position.total, position.exact, found.facets, token)

    async def _matched_words(
        self, words: Sequence[str], rows: Rows, *, fuzzy: bool
    ) -> frozenset[str]:
        """Which words of the rows' texts match a word of the query."""
        if not words or not rows:
            return frozenset()
        if fuzzy:
            names = await asyncio.to_thread(highlight.name_words, rows)
            found = await self._fetch((terms.SIMILAR_WORDS, (sorted(names), list(words))))
            return frozenset(row["word"] for row in found)
        candidates = await asyncio.to_thread(highlight.candidates, rows, words)
        matched = {word for word in candidates if word.startswith(tuple(words))}
        others = candidates - matched
        arguments = [
            [word for word in among if word.isascii() is ascii_only]
            for ascii_only in (True, False)
            for among in (others, words)
        ]
        if others:
            found = await self._fetch((terms.SAME_STEM, arguments))
            matched.update(row["word"] for row in found)
        return frozenset(matched)

    async def _fetch(self, statement: Statement) -> Rows:
        sql, parameters = statement
        rows = await self._database.fetch(sql, *parameters, timeout=SEARCH_SECONDS)
        return [dict(row) for row in rows]


def _hits(rows: Rows, matched: frozenset[str]) -> list[Hit]:
    """The rows as hits, as many as a message holds, at least one if there is one."""
    hits: list[Hit] = []
    size = 0
    for row in rows:
        hit = Hit(row, row["score"], highlight.of_row(row, matched))
        size += hit.size_bytes
        if hits and size > MAX_PAGE_BYTES:
            break
        hits.append(hit)
    return hits


def _once(hits: Sequence[Hit]) -> list[Hit]:
    """A file may have two replicas for a moment; the first one stands for it."""
    found: dict[str, Hit] = {}
    for hit in hits:
        found.setdefault(hit.row["file_id"], hit)
    return list(found.values())
