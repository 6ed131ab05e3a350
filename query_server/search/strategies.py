"""How the matches of a search are found and put in order: one class for each way.

A search is guessed to have few matches or many, which decides between `All` and the two others
that read along an index; `Likeness` is for a text of which no word is anywhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from query_server.search import filters, statements
from query_server.search.filters import Conditions
from query_server.search.paging import Position
from query_server.search.request import Order
from query_server.search.statements import (
    MATCHED,
    NEWEST_AT,
    Keys,
    Search,
    Statement,
    along,
    counted,
    found,
    newest,
    page,
)
from query_server.search.table import TABLE

Rows = Sequence[Mapping[str, Any]]
Facets = Mapping[str, Sequence[tuple[str, int]]]

# Of one search's first page another way has told already.
Counted = tuple[int, Facets]


@dataclass(frozen=True, slots=True)
class Found:
    """The first page's rows, one more than it has, where they start, and the facets."""

    rows: Rows
    start: Position
    facets: Facets = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Strategy(ABC):
    """One way for one query."""

    search: Search
    fetch: Callable[[Statement], Awaitable[Rows]]

    @abstractmethod
    async def first(self, known: Counted | None = None) -> Found:
        """The first page; `known` is what another way has found out already."""

    async def after(self, position: Position) -> Rows:
        """The page after a position: one row more than it has, if there are that many."""
        return await self.fetch(self.page(position))

    @abstractmethod
    def page(self, position: Position | None = None) -> Statement:
        """Of the first page, or of the one after a position."""

    def _conditions(self) -> tuple[Conditions, Keys]:
        conditions = self.search.conditions()
        if self.search.query.order is Order.RELEVANCE:
            keys = (self.search.relevance(conditions), "created_at", "file_id")
            return conditions, Keys(keys, scored=True)
        return conditions, Keys((self.search.column, "file_id"), self.search.query.descending)


class All(Strategy):
    """All matches are found and then sorted: to look for few along an order could take the whole
    table.
    """

    async def first(self, known: Counted | None = None) -> Found:
        """The rows are the first page only if `start.total` is within the cap."""
        rows = await self.fetch(self.page())
        total, facets = _counts(rows)
        newest_at = (
            rows[0]["newest_at"] if rows and self.search.query.order is Order.RELEVANCE else None
        )
        return Found(rows, Position((), total, True, False, newest_at), facets)

    def page(self, position: Position | None = None) -> Statement:
        """The first page with its count, for two would find the same matches twice; a later one
        without what is newer than all that was ranked on the first.
        """
        conditions, keys = self._conditions()
        among, limit = "true", f"LIMIT {statements.MATCHES_CAP + 1}"
        columns = [NEWEST_AT, counted(self.search.query)]
        if position is not None:
            among, limit, columns = keys.after(conditions, position.key), "", []
            if position.newest is not None:
                conditions.add("created_at <= {}", position.newest)
        matches = f"SELECT {MATCHED}, {keys.selected} FROM {TABLE} WHERE {conditions.sql} {limit}"
        return page(self.search, conditions, keys, matches, among=among, columns=columns)


class AlongColumn(Strategy):
    """Many matches are read along the index of a column; those among the newest files counted."""

    async def first(self, known: Counted | None = None) -> Found:
        total, facets = known or _counts(await self.fetch(self.count()))
        rows = await self.fetch(self.page())
        return Found(rows, _many(total, rows), facets)

    def count(self) -> Statement:
        """One row: `total` and `facets`."""
        conditions = self.search.conditions()
        matches = f"""
            SELECT {MATCHED} FROM ({newest(statements.WALKED_ROWS)}) {TABLE}
            WHERE {conditions.sql} LIMIT {statements.MATCHES_CAP + 1}"""
        return f"{found(matches)} SELECT {counted(self.search.query)}", conditions.parameters

    def page(self, position: Position | None = None) -> Statement:
        conditions, keys = self._conditions()
        key = position.key if position is not None else None
        return along(self.search, conditions, keys, key, self.search.query.page_size + 1)


class NewestRanked(Strategy):
    """Of many matches the newest are ranked, and the others follow by time."""

    async def first(self, known: Counted | None = None) -> Found:
        rows = await self.fetch(self.page())
        total, facets = known or _counts(rows)
        start = _many(total, rows)
        if rows:
            oldest = (rows[0]["oldest_at"], rows[0]["oldest_id"])
            start = replace(start, newest=rows[0]["newest_at"], oldest=oldest)
            rows = await self._filled(rows, oldest)
        return Found(rows, start, facets)

    async def after(self, position: Position) -> Rows:
        assert position.oldest is not None
        if position.past_ranked:
            return await self._filled((), position.key)
        return await self._filled(await self.fetch(self.page(position)), position.oldest)

    async def _filled(self, rows: Rows, oldest: Sequence[object]) -> Rows:
        """A page that begins with these ranked rows."""
        limit = self.search.query.page_size + 1 - len(rows)
        return [*rows, *await self.fetch(self.older(oldest, limit=limit))] if limit > 0 else rows

    def page(self, position: Position | None = None) -> Statement:
        """The first page with its count, and with `newest_at`, `oldest_at` and `oldest_id`, which
        bound what was ranked; or a later one of what the first one ranked.
        """
        conditions, keys = self._conditions()
        if position is None or position.oldest is None:
            among, columns = f"number <= {statements.RANKED}", self._bounds(conditions)
            walked, limit = newest(statements.WALKED_ROWS), f"LIMIT {statements.MATCHES_CAP + 1}"
        else:
            among, columns, limit = keys.after(conditions, position.key), [], ""
            till, at, file_id = map(conditions.parameter, (position.newest, *position.oldest))
            # As many as were walked, and what was taken back since; the limit keeps the walk.
            walked = newest(
                2 * statements.WALKED_ROWS,
                f"created_at <= {till} AND (created_at, file_id) >= ({at}, {file_id})",
            )
        matches = f"""
            SELECT *, row_number() OVER () AS number FROM (
                SELECT {MATCHED}, {keys.selected} FROM {self._source(walked, conditions)}
                WHERE {conditions.sql} {limit}) found"""
        return page(self.search, conditions, keys, matches, among=among, columns=columns)

    def _bounds(self, conditions: Conditions) -> list[str]:
        namesake = self.search.is_named(conditions)
        oldest = (
            f"coalesce((SELECT {column} FROM matches WHERE number <= {statements.RANKED}"
            f" AND NOT {namesake} ORDER BY number DESC LIMIT 1), {beyond}) AS {name}"
            for column, name, beyond in (
                ("created_at", "oldest_at", "'9999-01-01 00:00:00+00'"),
                ("file_id", "oldest_id", "''"),
            )
        )
        return [NEWEST_AT, *oldest, counted(self.search.query)]

    def older(self, key: Sequence[object], *, limit: int) -> Statement:
        """The matches before (created_at, file_id), newest first."""
        conditions = self.search.conditions(named=False)
        return along(self.search, conditions, Keys(("created_at", "file_id")), key, limit)

    def _source(self, walked: str, conditions: Conditions) -> str:
        """The rows of `walked` after those of the namesakes, which may be older."""
        if not self.search.named:
            return f"({walked}) {TABLE}"
        namesake = self.search.is_named(conditions)
        return (
            f"(SELECT * FROM {TABLE} WHERE state = 'active' AND {namesake} UNION ALL"
            f" (SELECT * FROM ({walked}) {TABLE} WHERE NOT {namesake})) {TABLE}"
        )


class Likeness(Strategy):
    """Names that resemble the text, the closest first."""

    async def first(self, known: Counted | None = None) -> Found:
        rows = await self.fetch(self.page())
        total = rows[0]["ranked"] if rows else 0
        return Found(rows, Position((), total, total < statements.SIMILAR_CAP, fuzzy=True))

    def page(self, position: Position | None = None) -> Statement:
        conditions = Conditions()
        text = conditions.parameter(self.search.terms.plain)
        filters.apply(conditions, self.search.query.filters, self.search.query.readable)
        keys = Keys(("score", "created_at", "file_id"), scored=True)
        matches = f"""
            SELECT *, {keys.selected} FROM (
                SELECT file_id, storage_element_id, created_at,
                       word_similarity({text}, lower(original_filename))::float8 AS score
                FROM {TABLE} WHERE {conditions.sql} AND {text} <% lower(original_filename)
                LIMIT {statements.SIMILAR_COMPARED}) compared
            ORDER BY {keys.order} LIMIT {statements.SIMILAR_CAP}"""
        among = keys.after(conditions, position.key) if position is not None else "true"
        columns = ["(SELECT count(*) FROM matches) AS ranked"]
        return page(
            self.search, conditions, keys, matches, among=among, columns=columns, marked=False
        )


def strategy_of(position: Position) -> type[Strategy]:
    """The way in which the page before was found."""
    if position.fuzzy:
        return Likeness
    if position.exact:
        return All
    return NewestRanked if position.oldest else AlongColumn


def _many(total: int, rows: Rows) -> Position:
    # Count and page see the table at two moments: what one of them found is there.
    total = min(max(total, len(rows)), statements.MATCHES_CAP)
    return Position((), total, exact=False, fuzzy=False)


def _counts(rows: Rows) -> Counted:
    if not rows:
        return 0, {}
    facets: dict[str, list[list[Any]] | None] = orjson.loads(rows[0]["facets"])
    return rows[0]["total"], {
        name: [(value, files) for value, files in values]
        for name, values in facets.items()
        if values
    }
