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
    FEW,
    MATCHED,
    WALK,
    Keys,
    Search,
    Statement,
    along,
    beside,
    counted,
    newest,
    page,
    probe,
    with_named,
)
from query_server.search.table import TABLE

Rows = Sequence[Mapping[str, Any]]
Facets = Mapping[str, Sequence[tuple[str, int]]]


@dataclass(frozen=True, slots=True)
class Found:
    """The first page's rows, one more than it has, where they start, and the facets."""

    rows: Rows
    start: Position
    facets: Facets = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asking:
    """A search, and how the database is asked."""

    search: Search
    fetch: Callable[[Statement], Awaitable[Rows]]

    def _conditions(self) -> tuple[Conditions, Keys]:
        conditions = self.search.conditions()
        if self.search.query.order is Order.RELEVANCE:
            keys = (self.search.relevance(conditions), "created_at", "file_id")
            return conditions, Keys(keys, scored=True)
        return conditions, Keys((self.search.column, "file_id"), self.search.query.descending)


class Strategy(Asking, ABC):
    """One way."""

    async def after(self, position: Position) -> Rows:
        """The page after a position: one row more than it has, if there are that many."""
        return await self.fetch(self.page(position))

    @abstractmethod
    def page(self, position: Position) -> Statement:
        """Of the page after a position."""


class All(Strategy):
    """All matches are found and then sorted: to look for few along an order could take the whole
    table.
    """

    def found(self, rows: Rows) -> Found:
        """The first page; it is one only if `start.total` is within the cap."""
        total, facets = _counts(rows)
        ranked = self.search.query.order is Order.RELEVANCE
        newest_at = rows[0]["newest_at"] if rows and ranked else None
        return Found(rows, Position((), total, True, False, newest_at), facets)

    def page(self, position: Position) -> Statement:
        """Without what is newer than all that was ranked on the first one."""
        conditions, keys = self._conditions()
        among = keys.after(conditions, position.key)
        if position.newest is not None:
            conditions.add("created_at <= {}", position.newest)
        matches = f"SELECT {MATCHED}, {keys.selected} FROM {TABLE} WHERE {conditions.sql}"
        return page(self.search, conditions, keys, matches, among=among)


class Many(Strategy):
    """Too many matches to find all of them."""

    async def found(self, rows: Rows, facets: Facets | None = None) -> Found:
        """The first page; `facets` where they are known already."""
        total, counted_now = _counts(rows)
        if facets is not None:
            total, counted_now = statements.MATCHES_CAP, facets
        # Count and page see the table at two moments: what one of them found is there.
        total = min(max(total, len(rows)), statements.MATCHES_CAP)
        return Found(rows, Position((), total, exact=False, fuzzy=False), counted_now)


class AlongColumn(Many):
    """Matches are read along the index of a column; those among the newest files are counted."""

    def page(self, position: Position) -> Statement:
        conditions, keys = self._conditions()
        return along(self.search, conditions, keys, position.key, self.search.query.page_size + 1)


class NewestRanked(Many):
    """The newest matches are ranked, and the others follow by time."""

    async def found(self, rows: Rows, facets: Facets | None = None) -> Found:
        found = await Many.found(self, rows, facets)
        if not rows:
            return found
        oldest = (rows[0]["oldest_at"], rows[0]["oldest_id"])
        start = replace(found.start, newest=rows[0]["newest_at"], oldest=oldest)
        return Found(await self._filled(rows, oldest), start, found.facets)

    async def after(self, position: Position) -> Rows:
        assert position.oldest is not None
        if position.past_ranked:
            return await self._filled((), position.key)
        return await self._filled(await self.fetch(self.page(position)), position.oldest)

    async def _filled(self, rows: Rows, oldest: Sequence[object]) -> Rows:
        """A page that begins with these ranked rows."""
        limit = self.search.query.page_size + 1 - len(rows)
        return [*rows, *await self.fetch(self.older(oldest, limit=limit))] if limit > 0 else rows

    def page(self, position: Position) -> Statement:
        """Of what the first one ranked."""
        assert position.oldest is not None
        conditions, keys = self._conditions()
        among = keys.after(conditions, position.key)
        till, at, file_id = map(conditions.parameter, (position.newest, *position.oldest))
        # As many as were walked, and what was taken back since; the limit keeps the walk.
        walked = newest(
            4 * statements.WALKED_ROWS,
            f"created_at <= {till} AND (created_at, file_id) >= ({at}, {file_id})",
        )
        source = with_named(self.search, walked, conditions)
        matches = f"SELECT {MATCHED}, {keys.selected} FROM {source} WHERE {conditions.sql}"
        return page(self.search, conditions, keys, matches, among=among)

    def older(self, key: Sequence[object], *, limit: int) -> Statement:
        """The matches before (created_at, file_id), newest first."""
        conditions = self.search.conditions(named=False)
        return along(self.search, conditions, Keys(("created_at", "file_id")), key, limit)


class Likeness(Strategy):
    """Names that resemble the text, the closest first."""

    async def first(self) -> Found:
        """The first page."""
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
                SELECT {MATCHED},
                       word_similarity({text}, lower(original_filename))::float8 AS score
                FROM {TABLE} WHERE {conditions.sql} AND {text} <% lower(original_filename)
                LIMIT {statements.SIMILAR_COMPARED}) compared
            ORDER BY {keys.order} LIMIT {statements.SIMILAR_CAP}"""
        among = keys.after(conditions, position.key) if position is not None else "true"
        columns = ["(SELECT count(*) FROM matches) AS ranked"]
        return page(
            self.search, conditions, keys, matches, among=among, columns=columns, marked=False
        )


class FirstPage(Asking):
    """The first page in the way that the newest files make seem right, with the count of it, in
    one statement.
    """

    async def first(self, guess: str) -> Found:
        """The page; `guess` is SQL that says by `matched` and `files` whether there are few, as
        of `statement`. It only decides how they are found, and costs time when it is wrong.
        """
        rows = await self.fetch(self.statement(guess))
        ranked = self.search.query.order is Order.RELEVANCE
        many = (NewestRanked if ranked else AlongColumn)(self.search, self.fetch)
        if rows and not rows[0]["few"]:
            return await many.found(rows)
        found = All(self.search, self.fetch).found(rows)
        if found.start.total <= statements.MATCHES_CAP:
            return found
        return await many.found(await self.fetch(self.statement("false")), found.facets)

    def statement(self, guess: str) -> Statement:
        """Rows of the page, each with `few`, `total`, `facets`; with `newest_at`, `oldest_at` and
        `oldest_id` of what was ranked.

        Args:
            guess: SQL; `matched` is how many of the PROBED_ROWS newest files match, and `files`
                about how many there are, 0 if that is not known.
        """
        search = self.search
        conditions, keys = self._conditions()
        ranked = search.query.order is Order.RELEVANCE
        walked = newest(WALK)
        walked = with_named(search, walked, conditions) if ranked else f"({walked}) {TABLE}"
        some = f"{conditions.sql} LIMIT {statements.MATCHES_CAP + 1}"
        matches = f"""
            SELECT *, row_number() OVER () AS number FROM (
                (SELECT {MATCHED}, {keys.selected} FROM {TABLE} WHERE {FEW} AND {some})
                UNION ALL
                (SELECT {MATCHED}, {keys.selected} FROM {walked} WHERE NOT {FEW} AND {some})
            ) found"""
        most = statements.RANKED if ranked else 0
        return page(
            search,
            conditions,
            keys,
            matches,
            among=f"({FEW} OR number <= {most})",
            columns=[f"{FEW} AS few", *self._bounds(conditions), counted(search.query)],
            probed=probe(guess, conditions),
            beside="" if ranked else beside(search, conditions, keys),
        )

    def _bounds(self, conditions: Conditions) -> list[str]:
        if self.search.query.order is not Order.RELEVANCE:
            return []
        namesake = self.search.is_named(conditions)
        oldest = (
            f"coalesce((SELECT {column} FROM matches WHERE number <= {statements.RANKED}"
            f" AND NOT {namesake} ORDER BY number DESC LIMIT 1), {beyond}) AS {name}"
            for column, name, beyond in (
                ("created_at", "oldest_at", "'9999-01-01 00:00:00+00'"),
                ("file_id", "oldest_id", "''"),
            )
        )
        return ["(SELECT max(created_at) FROM matches) AS newest_at", *oldest]


def strategy_of(position: Position) -> type[Strategy]:
    """The way in which the page before was found."""
    if position.fuzzy:
        return Likeness
    if position.exact:
        return All
    return NewestRanked if position.oldest else AlongColumn


def _counts(rows: Rows) -> tuple[int, Facets]:
    if not rows:
        return 0, {}
    facets: dict[str, list[list[Any]] | None] = orjson.loads(rows[0]["facets"])
    return rows[0]["total"], {
        name: [(value, files) for value, files in values]
        for name, values in facets.items()
        if values
    }
