"""Searching: which statements a query takes, and the page that is made of their rows.

Counts and facets look at no more than MATCHES_CAP matches. When there are more, those among the
newest files are looked at, the newest matches are ranked, and the others follow by time: so the
cost of a search does not grow with how common its words are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from mesh.postgres.database import Database
from query_server.search import highlight, paging, statements
from query_server.search.paging import Position
from query_server.search.request import SearchQuery
from query_server.search.statements import (
    FACET_MATCHES,
    FEW_MATCHES,
    PROBED_ROWS,
    WALKED_ROWS,
    Search,
    Statement,
)
from query_server.search.strategies import Facets, FirstPage, Found, Likeness, Rows, strategy_of
from query_server.search.table import CUT, TABLE, Layout
from query_server.search.terms import Terms

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
        facets_exact: they are of all matches, else of some.
    """

    hits: Sequence[Hit]
    total: int
    exact: bool
    facets: Facets = field(default_factory=dict)
    facets_exact: bool = True
    next_page_token: str = ""


class SearchIndex:
    """Searches the table `file_metadata_cache`."""

    def __init__(self, database: Database, layout: Callable[[], Layout] = lambda: CUT) -> None:
        """Arguments: the index's database; which columns to go by, asked at each search."""
        self._database = database
        self._layout = layout

    @property
    def complete(self) -> bool:
        """All rows are cut into words as a query is."""
        return self._layout().complete

    async def search(self, query: SearchQuery) -> Page:
        """Find a page.

        Raises:
            InvalidArgument: the page token is not of this query.
            Unavailable: the database is down or silent.
        """
        position = paging.decode(query)
        search = await self._asked(query, position)
        if query.text and not search.terms and not search.named:
            return Page((), 0, True)
        if position is None:
            return await self._page(search, await self._first(search))
        strategy = strategy_of(position)(search, self._fetch)
        return await self._page(search, Found(await strategy.after(position), position))

    async def _asked(self, query: SearchQuery, position: Position | None) -> Search:
        """The query, cut into words; files of its name are the same on all pages."""
        layout = self._layout()
        named = position.namesakes if position is not None else ()
        names = position is None and layout.complete and bool(query.whole.strip())
        if not query.text and not names:
            return Search(query, Terms(), named, layout)
        (asked,) = await self._fetch(statements.asked(query, names=names))
        terms = Terms.of(orjson.loads(asked["words"]))
        return Search(query, terms, asked["named"] if names else named, layout)

    async def _first(self, search: Search) -> Found:
        """The first page; it is guessed from the newest files whether many match."""
        guess = f"files <= {WALKED_ROWS} OR matched * files <= {FEW_MATCHES * PROBED_ROWS}"
        found = await FirstPage(search, self._fetch).first(guess)
        if search.terms and not found.rows:
            return await Likeness(search, self._fetch).first()
        return found

    async def _page(self, search: Search, found: Found) -> Page:
        position, size = found.start, search.query.page_size
        rows = await self._marked(search, found.rows[:size], fuzzy=position.fuzzy)
        hits = await asyncio.to_thread(_hits, rows)
        token = ""
        if len(hits) < len(found.rows):
            last = hits[-1].row
            key = [last[f"key_{n}"] for n in range(3) if f"key_{n}" in last]
            named = () if position.fuzzy else search.named
            token = paging.encode(search.query, replace(position, key=key, namesakes=named))
        return Page(
            hits,
            position.total,
            position.exact,
            found.facets,
            facets_exact=position.exact and position.total <= FACET_MATCHES,
            next_page_token=token,
        )

    async def _marked(
        self, search: Search, rows: Rows, *, fuzzy: bool
    ) -> Sequence[tuple[Mapping[str, Any], Mapping[str, str]]]:
        """Rows, each with its highlights."""
        if not search.terms or not rows:
            return [(row, {}) for row in rows]
        texts = await asyncio.to_thread(lambda: [highlight.texts_of(row) for row in rows])
        looked_at = await asyncio.to_thread(
            lambda: [highlight.composed(text) for one in texts for _, text in one]
        )
        terms = search.terms
        asked = (looked_at, terms.marking, terms.letters,
                 [word.word for word in terms.words] if fuzzy else None,
                 highlight.EXCERPT_CHARACTERS)  # fmt: skip
        marks = iter(await self._fetch((highlight.MARKS, asked)))
        found = [[next(marks)["marks"] for _ in one] for one in texts]
        return await asyncio.to_thread(
            lambda: [
                (row, highlight.marked(*one)) for row, *one in zip(rows, texts, found, strict=True)
            ]
        )

    async def _fetch(self, statement: Statement) -> Rows:
        sql, parameters = statement
        rows = await self._database.fetch(sql, *parameters, timeout=SEARCH_SECONDS)
        return [dict(row) for row in rows]


def _hits(rows: Sequence[tuple[Mapping[str, Any], Mapping[str, str]]]) -> list[Hit]:
    """Rows and their highlights as hits, as many as a message holds, at least one if there is
    one.
    """
    hits: list[Hit] = []
    size = 0
    for row, highlights in rows:
        hit = Hit(row, row["score"], highlights)
        size += hit.size_bytes
        if hits and size > MAX_PAGE_BYTES:
            break
        hits.append(hit)
    return hits
