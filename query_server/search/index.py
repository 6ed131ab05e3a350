"""The search index as SQL: one page, its count and facets, words to highlight.

Counts, facets and relevance look at no more than MATCHES_CAP matches, the newest ones, so the
cost of a search does not grow with how common its words are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mesh.database import Database
from mesh.follower.rows import COLUMNS
from query_server.search import filters, highlight, paging
from query_server.search.filters import Conditions
from query_server.search.paging import Position
from query_server.search.request import Order, SearchQuery
from query_server.search.terms import tsquery, words_of

TABLE = "file_metadata_cache"
MATCHES_CAP = 10_000
FACET_VALUES = 20
FUZZY_CAP = 200
SEARCH_SECONDS = 10.0

_SORT = {
    Order.CREATED_AT: "created_at",
    Order.UPDATED_AT: "updated_at",
    Order.SIZE: "size_bytes",
    Order.NAME: "lower(original_filename)",
}
_SELECT = ", ".join(name for name in COLUMNS if name not in ("epoch", "digest"))


@dataclass(frozen=True, slots=True)
class Hit:
    """A row found, its score, and its highlighted texts by field."""

    row: Mapping[str, Any]
    score: float
    highlights: Mapping[str, str]


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
    facets: Mapping[str, Sequence[tuple[str, int]]] = field(default_factory=dict)
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
        words = words_of(query.text)
        if query.text and not words:
            return Page((), 0, True)
        if position is not None:
            return await self._page(query, words, position, {}, fuzzy=position.fuzzy)
        (total, exact, facets), first = await asyncio.gather(
            self._count(query, words), self._rows(query, words, None, fuzzy=False)
        )
        if words and not total:
            return await self._page(query, words, None, {}, fuzzy=True)
        start = Position((), total, exact, False)
        return await self._finish(query, words, start, facets, first)

    async def _page(
        self,
        query: SearchQuery,
        words: Sequence[str],
        position: Position | None,
        facets: Mapping[str, Sequence[tuple[str, int]]],
        *,
        fuzzy: bool,
    ) -> Page:
        rows = await self._rows(query, words, position, fuzzy=fuzzy)
        if position is None:
            position = Position((), len(rows), len(rows) <= query.page_size, fuzzy)
        return await self._finish(query, words, position, facets, rows)

    async def _finish(
        self,
        query: SearchQuery,
        words: Sequence[str],
        position: Position,
        facets: Mapping[str, Sequence[tuple[str, int]]],
        rows: Sequence[Mapping[str, Any]],
    ) -> Page:
        page = rows[: query.page_size]
        token = ""
        if len(rows) > query.page_size:
            last = page[-1]
            key = [last[f"key_{n}"] for n in range(3) if f"key_{n}" in last]
            token = paging.encode(
                query, Position(key, position.total, position.exact, position.fuzzy)
            )
        matched = await self._matched_words(words, page) if words else frozenset()
        hits, seen = [], set()
        for row in page:
            if row["file_id"] not in seen:  # a file may have two replicas for a moment
                seen.add(row["file_id"])
                hits.append(Hit(row, row["score"], highlight.of_row(row, matched)))
        return Page(hits, position.total, position.exact, facets, token)

    def _conditions(self, query: SearchQuery, words: Sequence[str]) -> tuple[Conditions, str]:
        """The conditions of a query, and the SQL of its tsquery ('' without words)."""
        conditions = Conditions()
        wanted = ""
        if words:
            wanted, parameters = tsquery(words, 1)
            conditions.parameters.extend(parameters)
            conditions.clauses.append(f"search_vector @@ ({wanted})")
        filters.apply(conditions, query.filters, query.readable)
        return conditions, wanted

    async def _rows(
        self,
        query: SearchQuery,
        words: Sequence[str],
        position: Position | None,
        *,
        fuzzy: bool,
    ) -> Sequence[Mapping[str, Any]]:
        """One row more than the page has, if there are that many."""
        if fuzzy:
            return await self._similar(query, position)
        conditions, wanted = self._conditions(query, words)
        if query.order is Order.RELEVANCE:
            inner = f"""
                SELECT file_id, storage_element_id, created_at,
                       ts_rank(search_vector, {wanted})::float8 AS score
                FROM (SELECT file_id, storage_element_id, created_at, search_vector
                      FROM {TABLE} WHERE {conditions.sql}
                      ORDER BY created_at DESC, file_id DESC LIMIT {MATCHES_CAP}) newest"""
            return await self._ranked(conditions, inner, query.page_size, position)
        column = _SORT[query.order]
        sign, direction = ("<", "DESC") if query.descending else (">", "ASC")
        if position is not None:
            value, file_id = position.key
            conditions.clauses.append(
                f"({column}, file_id) {sign}"
                f" ({conditions.parameter(value)}, {conditions.parameter(file_id)})"
            )
        found = await self._database.fetch(
            f"""
            SELECT {_SELECT}, 0::float8 AS score, {column} AS key_0, file_id AS key_1
            FROM {TABLE} WHERE {conditions.sql}
            ORDER BY {column} {direction}, file_id {direction} LIMIT {query.page_size + 1}
            """,
            *conditions.parameters,
            timeout=SEARCH_SECONDS,
        )
        return [dict(row) for row in found]

    async def _ranked(
        self, conditions: Conditions, inner: str, page_size: int, position: Position | None
    ) -> Sequence[Mapping[str, Any]]:
        after = "true"
        if position is not None:
            placeholders = ", ".join(conditions.parameter(part) for part in position.key)
            after = f"(score, created_at, file_id) < ({placeholders})"
        columns = ", ".join(f"t.{name}" for name in _SELECT.split(", "))
        found = await self._database.fetch(
            f"""
            WITH page AS (
                SELECT * FROM ({inner}) ranked WHERE {after}
                ORDER BY score DESC, created_at DESC, file_id DESC LIMIT {page_size + 1})
            SELECT {columns}, page.score,
                   page.score AS key_0, page.created_at AS key_1, page.file_id AS key_2
            FROM page JOIN {TABLE} t USING (file_id, storage_element_id)
            ORDER BY page.score DESC, page.created_at DESC, page.file_id DESC
            """,
            *conditions.parameters,
            timeout=SEARCH_SECONDS,
        )
        return [dict(row) for row in found]

    async def _similar(
        self, query: SearchQuery, position: Position | None
    ) -> Sequence[Mapping[str, Any]]:
        """Names that resemble the text, for when no word matches."""
        conditions = Conditions()
        text = conditions.parameter(" ".join(words_of(query.text))[:200])
        filters.apply(conditions, query.filters, query.readable)
        inner = f"""
            SELECT file_id, storage_element_id, created_at,
                   word_similarity({text}, lower(original_filename))::float8 AS score
            FROM {TABLE} WHERE {conditions.sql} AND {text} <% lower(original_filename)
            LIMIT {FUZZY_CAP}"""
        return await self._ranked(conditions, inner, query.page_size, position)

    async def _count(
        self, query: SearchQuery, words: Sequence[str]
    ) -> tuple[int, bool, dict[str, list[tuple[str, int]]]]:
        conditions, _ = self._conditions(query, words)
        rows = await self._database.fetch(
            f"""
            WITH matches AS MATERIALIZED (
                SELECT content_type, storage_element_id, tags FROM {TABLE}
                WHERE {conditions.sql} LIMIT {MATCHES_CAP + 1})
            SELECT '' AS field, '' AS value, count(*) AS count FROM matches
            UNION ALL (SELECT 'content_type', content_type, count(*) FROM matches
                       GROUP BY 2 ORDER BY 3 DESC, 2 LIMIT {FACET_VALUES})
            UNION ALL (SELECT 'storage_element_id', storage_element_id, count(*) FROM matches
                       GROUP BY 2 ORDER BY 3 DESC, 2 LIMIT {FACET_VALUES})
            UNION ALL (SELECT 'tag', tag, count(*) FROM matches, unnest(tags) tag
                       GROUP BY 2 ORDER BY 3 DESC, 2 LIMIT {FACET_VALUES})
            """,
            *conditions.parameters,
            timeout=SEARCH_SECONDS,
        )
        facets: dict[str, list[tuple[str, int]]] = {}
        total = 0
        for row in rows:
            if row["field"]:
                facets.setdefault(row["field"], []).append((row["value"], row["count"]))
            else:
                total = row["count"]
        return min(total, MATCHES_CAP), total <= MATCHES_CAP, facets

    async def _matched_words(
        self, words: Sequence[str], page: Sequence[Mapping[str, Any]]
    ) -> frozenset[str]:
        """Which words of the page's texts match a word of the query."""
        candidates = sorted({word for row in page for word in highlight.words_of_row(row)})
        if not candidates:
            return frozenset()
        wanted, parameters = tsquery(words, 2)
        rows = await self._database.fetch(
            f"""
            SELECT word FROM unnest($1::text[]) word
            WHERE artstore_text(word, 'A') @@ ({wanted.replace(" && ", " || ")})
            """,
            candidates,
            *parameters,
        )
        return frozenset(row["word"] for row in rows)
